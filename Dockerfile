# Targets: `runtime` (the binary and the glibc files it is linked to) and `debug` (the same on Debian, with curl
# and tar, for `kubectl exec` and `kubectl cp`).
#
#   docker build --target runtime -t portcullis/portcullis .
#
# Both work in APISIX's folder, so that they can stand in for its image: conf/config.yaml is read there, data is kept there.
#
# A binary that was built elsewhere for Debian 12 takes the place of the first stage by a named context:
# `--build-context binary=FOLDER`, where FOLDER holds `portcullis`.

FROM rust:1.95-slim-bookworm AS builder
# aws-lc is C and assembler.
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ make
WORKDIR /build
COPY . .
RUN cargo build --release --locked && mkdir /out && cp target/release/portcullis /out

FROM scratch AS binary
COPY --from=builder /out/portcullis /portcullis

FROM debian:bookworm-slim AS root
COPY --from=binary /portcullis /image/usr/local/bin/portcullis
RUN cd /image \
 && for library in $(ldd usr/local/bin/portcullis | grep -o '/[^ ]*'); do install -D "$library" "/image$library"; done \
 && mkdir -p etc && install -d -m 1777 tmp \
 && echo 'portcullis:x:65532:65532::/:/sbin/nologin' >etc/passwd \
 && echo 'portcullis:x:65532:' >etc/group \
 && mkdir -p /apisix/conf /apisix/data

FROM debian:bookworm-slim AS debug
RUN command -v curl || { apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*; }
COPY --from=root /image/etc/passwd /image/etc/group /etc/
COPY --from=root /image/usr/local/bin/portcullis /usr/local/bin/portcullis
COPY --from=root --chown=65532:65532 /apisix/ /usr/local/apisix/
WORKDIR /usr/local/apisix
USER 65532:65532
EXPOSE 9080 9443 9091 9180
ENTRYPOINT ["/usr/local/bin/portcullis"]
CMD ["run"]

FROM scratch AS runtime
COPY --from=root /image/ /
COPY --from=root --chown=65532:65532 /apisix/ /usr/local/apisix/
WORKDIR /usr/local/apisix
USER 65532:65532
EXPOSE 9080 9443 9091 9180
ENTRYPOINT ["/usr/local/bin/portcullis"]
CMD ["run"]
