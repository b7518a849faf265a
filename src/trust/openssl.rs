//! AWS-LC's `X509_verify_cert`, for the chains that webpki cannot judge. The only unsafe code of the program.
#![expect(unsafe_code, reason = "AWS-LC's path validation has no safe binding; every pointer here is owned by a guard")]

use std::ffi::{CStr, c_int, c_long, c_ulong, c_void};
use std::ptr::NonNull;

use aws_lc_sys as ffi;

/// An object of AWS-LC, freed when dropped.
struct Owned<T> {
    free: unsafe extern "C" fn(*mut T),
    pointer: NonNull<T>,
}

impl<T> Owned<T> {
    /// Takes over `pointer`; `None` for null, which is how AWS-LC says that it failed.
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        Some(Self { free, pointer: NonNull::new(pointer)? })
    }

    fn as_ptr(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the constructor that belongs to `free` and is freed nowhere else.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}

fn parse(der: &[u8]) -> Option<Owned<ffi::X509>> {
    let mut at = der.as_ptr();
    let length = c_long::try_from(der.len()).ok()?;
    // SAFETY: `at` points to `length` readable bytes; d2i_X509 copies what it keeps and moves `at` within them.
    let certificate = unsafe { ffi::d2i_X509(std::ptr::null_mut(), &raw mut at, length) };
    Owned::new(certificate, ffi::X509_free)
}

/// Verifies `leaf` for TLS client authentication at `now` (seconds since the epoch), through at most `depth` of the
/// `intermediates`, up to one of `anchors`, self-signed or not. All certificates are DER.
///
/// # Errors
/// AWS-LC's words for the first error.
pub(super) fn verify(
    leaf: &[u8],
    intermediates: &[&[u8]],
    anchors: &[&[u8]],
    depth: u32,
    now: i64,
) -> Result<(), String> {
    let outcome = run(leaf, intermediates, anchors, depth, now);
    // SAFETY: no arguments; clears the error queue of this thread, which failed calls above may have filled.
    unsafe { ffi::ERR_clear_error() };
    match outcome {
        Some(ffi::X509_V_OK) => Ok(()),
        Some(ffi::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY | ffi::X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE) => {
            Err("unknown issuer".to_owned())
        }
        Some(error) => {
            // SAFETY: returns a static string for every number.
            let text = unsafe { ffi::X509_verify_cert_error_string(c_long::from(error)) };
            // SAFETY: the string is static and ends in NUL.
            let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned());
            Err(text.unwrap_or_else(|| format!("error {error}")))
        }
        None => Err("a certificate cannot be read".to_owned()),
    }
}

/// `X509_V_OK` or the error's number; `None` when a certificate does not parse or memory is out.
fn run(leaf: &[u8], intermediates: &[&[u8]], anchors: &[&[u8]], depth: u32, now: i64) -> Option<c_int> {
    let leaf = parse(leaf)?;
    let intermediates = intermediates.iter().map(|der| parse(der)).collect::<Option<Vec<_>>>()?;
    // SAFETY: no arguments.
    let store = Owned::new(unsafe { ffi::X509_STORE_new() }, ffi::X509_STORE_free)?;
    for der in anchors {
        let anchor = parse(der)?;
        // SAFETY: both are valid; the store takes a reference of its own.
        (unsafe { ffi::X509_STORE_add_cert(store.as_ptr(), anchor.as_ptr()) } == 1).then_some(())?;
    }
    // SAFETY: no arguments.
    let stack = Owned::new(unsafe { ffi::OPENSSL_sk_new_null() }, ffi::OPENSSL_sk_free)?;
    for certificate in &intermediates {
        // SAFETY: the stack stores the pointer and does not own it; `intermediates` outlives the stack's last use below.
        (unsafe { ffi::OPENSSL_sk_push(stack.as_ptr(), certificate.as_ptr().cast::<c_void>()) } > 0).then_some(())?;
    }
    // SAFETY: no arguments.
    let context = Owned::new(unsafe { ffi::X509_STORE_CTX_new() }, ffi::X509_STORE_CTX_free)?;
    let chain = stack.as_ptr().cast::<ffi::stack_st_X509>();
    // SAFETY: all four are valid and, being declared before `context`, are dropped after it. A typed stack of AWS-LC is the
    // untyped one behind a cast.
    (unsafe { ffi::X509_STORE_CTX_init(context.as_ptr(), store.as_ptr(), leaf.as_ptr(), chain) } == 1).then_some(())?;
    // SAFETY: the context was initialised, so it has a parameter object, which it owns.
    let parameters = NonNull::new(unsafe { ffi::X509_STORE_CTX_get0_param(context.as_ptr()) })?.as_ptr();
    // SAFETY: `parameters` is valid while `context` is. PARTIAL_CHAIN lets an intermediate be an anchor, as webpki does.
    unsafe {
        ffi::X509_VERIFY_PARAM_set_depth(parameters, c_int::try_from(depth).unwrap_or(c_int::MAX));
        ffi::X509_VERIFY_PARAM_set_time_posix(parameters, now);
        let set = ffi::X509_VERIFY_PARAM_set_purpose(parameters, ffi::X509_PURPOSE_SSL_CLIENT);
        (set == 1).then_some(())?;
        let flags = c_ulong::try_from(ffi::X509_V_FLAG_PARTIAL_CHAIN).ok()?;
        (ffi::X509_VERIFY_PARAM_set_flags(parameters, flags) == 1).then_some(())?;
    }
    // SAFETY: the context is initialised and everything it refers to is alive.
    let verified = unsafe { ffi::X509_verify_cert(context.as_ptr()) };
    // SAFETY: as above.
    let error = unsafe { ffi::X509_STORE_CTX_get_error(context.as_ptr()) };
    Some(match (verified, error) {
        (1, ffi::X509_V_OK) => ffi::X509_V_OK,
        (_, ffi::X509_V_OK) => ffi::X509_V_ERR_UNSPECIFIED,
        (_, error) => error,
    })
}
