//! AWS-LC's `X509_verify_cert`, for the chains that webpki cannot judge. The only unsafe code of the program.
#![expect(unsafe_code, reason = "AWS-LC's path validation has no safe binding; every pointer here is owned by a guard")]

use std::ffi::{CStr, c_int, c_long, c_ulong, c_void};
use std::ptr::NonNull;

use aws_lc_sys as ffi;

use super::judge::Purpose;

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

/// Why there is no path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// What webpki has a word for too.
    Known(webpki::Error),
    /// A certificate of the path has expired or is not yet valid.
    OutOfDate,
    /// Anything else, in AWS-LC's words.
    Other(String),
}

/// Verifies `leaf` for `purpose` at `now` (seconds since the epoch), through any of the
/// `intermediates`, up to one of `anchors`, self-signed or not. All certificates are DER. Returns the path with the leaf
/// first; one of the anchors is in it.
///
/// # Errors
/// The first error.
pub(super) fn verify(
    leaf: &[u8],
    intermediates: &[&[u8]],
    anchors: &[&[u8]],
    now: i64,
    purpose: Purpose,
) -> Result<Vec<Vec<u8>>, Error> {
    let outcome = run(leaf, intermediates, anchors, now, purpose);
    // SAFETY: no arguments; clears the error queue of this thread, which failed calls above may have filled.
    unsafe { ffi::ERR_clear_error() };
    match outcome {
        Some(Ok(path)) => Ok(path),
        Some(Err(error)) => Err(describe(error)),
        None => Err(Error::Other("a certificate cannot be read".to_owned())),
    }
}

fn describe(error: c_int) -> Error {
    use webpki::Error as Known;
    Error::Known(match error {
        ffi::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
        | ffi::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        | ffi::X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
        | ffi::X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
        | ffi::X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN => Known::UnknownIssuer,
        ffi::X509_V_ERR_CERT_SIGNATURE_FAILURE => Known::InvalidSignatureForPublicKey,
        ffi::X509_V_ERR_INVALID_CA => Known::EndEntityUsedAsCa,
        // Its keyUsage has been looked at before.
        ffi::X509_V_ERR_INVALID_PURPOSE => Known::EmptyEkuExtension,
        ffi::X509_V_ERR_PATH_LENGTH_EXCEEDED => Known::PathLenConstraintViolated,
        ffi::X509_V_ERR_PERMITTED_VIOLATION | ffi::X509_V_ERR_EXCLUDED_VIOLATION => Known::NameConstraintViolation,
        ffi::X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION => Known::UnsupportedCriticalExtension,
        ffi::X509_V_ERR_CERT_HAS_EXPIRED | ffi::X509_V_ERR_CERT_NOT_YET_VALID => return Error::OutOfDate,
        _ => {
            // SAFETY: returns a static string for every number.
            let text = unsafe { ffi::X509_verify_cert_error_string(c_long::from(error)) };
            // SAFETY: the string is static and ends in NUL.
            let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned());
            return Error::Other(text.unwrap_or_else(|| format!("error {error}")));
        }
    })
}

/// A certificate as DER.
///
/// # Safety
/// `certificate` is valid.
unsafe fn der(certificate: *mut ffi::X509) -> Option<Vec<u8>> {
    // SAFETY: the caller vouches for the certificate; without a buffer only the length is returned.
    let length = unsafe { ffi::i2d_X509(certificate, std::ptr::null_mut()) };
    let mut der = vec![0; usize::try_from(length).ok()?];
    let mut at = der.as_mut_ptr();
    // SAFETY: `at` points to as many writable bytes as the call before asked for.
    (unsafe { ffi::i2d_X509(certificate, &raw mut at) } == length).then_some(der)
}

type Outcome = Result<Vec<Vec<u8>>, c_int>;

/// The path or the error's number; `None` when a certificate does not parse or memory is out.
fn run(leaf: &[u8], intermediates: &[&[u8]], anchors: &[&[u8]], now: i64, purpose: Purpose) -> Option<Outcome> {
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
    let purpose = match purpose {
        Purpose::Client => ffi::X509_PURPOSE_SSL_CLIENT,
        #[cfg(test)]
        Purpose::Server => ffi::X509_PURPOSE_SSL_SERVER,
    };
    // SAFETY: the context was initialised, so it has a parameter object, which it owns.
    let parameters = NonNull::new(unsafe { ffi::X509_STORE_CTX_get0_param(context.as_ptr()) })?.as_ptr();
    // SAFETY: `parameters` is valid while `context` is. PARTIAL_CHAIN lets an intermediate be an anchor, as webpki does.
    unsafe {
        ffi::X509_VERIFY_PARAM_set_depth(parameters, c_int::try_from(intermediates.len()).unwrap_or(c_int::MAX));
        ffi::X509_VERIFY_PARAM_set_time_posix(parameters, now);
        let set = ffi::X509_VERIFY_PARAM_set_purpose(parameters, purpose);
        (set == 1).then_some(())?;
        let flags = c_ulong::try_from(ffi::X509_V_FLAG_PARTIAL_CHAIN).ok()?;
        (ffi::X509_VERIFY_PARAM_set_flags(parameters, flags) == 1).then_some(())?;
    }
    // SAFETY: the context is initialised and everything it refers to is alive.
    let verified = unsafe { ffi::X509_verify_cert(context.as_ptr()) };
    // SAFETY: as above.
    let error = unsafe { ffi::X509_STORE_CTX_get_error(context.as_ptr()) };
    match (verified, error) {
        (1, ffi::X509_V_OK) => {}
        (_, ffi::X509_V_OK) => return Some(Err(ffi::X509_V_ERR_UNSPECIFIED)),
        (_, error) => return Some(Err(error)),
    }
    // SAFETY: after a verification the context owns the chain that was built, or returns null.
    let path = NonNull::new(unsafe { ffi::X509_STORE_CTX_get0_chain(context.as_ptr()) })?.as_ptr();
    let path = path.cast::<ffi::OPENSSL_STACK>().cast_const();
    // SAFETY: the stack is valid while the context is.
    let length = unsafe { ffi::OPENSSL_sk_num(path) };
    // SAFETY: each place below the length holds a certificate, which the stack keeps alive.
    let path = (0..length).map(|at| unsafe { der(ffi::OPENSSL_sk_value(path, at).cast::<ffi::X509>()) });
    Some(Ok(path.collect::<Option<_>>()?))
}
