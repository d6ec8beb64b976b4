# The build stage links everything, the C library included, into one binary; the image holds that
# binary and an empty data directory. Name resolution works in it: since glibc 2.34 the lookups in
# /etc/hosts and DNS are part of the library and nothing is loaded at run time.
FROM rust:1.95-bookworm AS build
LABEL dev.kvorum.stage=build
WORKDIR /src
COPY . .
# The target is named so that the flag is not applied to procedural macros, which are loaded.
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
 && RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --target "$target" -p kvorum --bin kvorum \
 && mkdir -p /out/data && cp "target/$target/release/kvorum" /out/kvorum && rm -rf target

FROM scratch
COPY --from=build /out/kvorum /kvorum
COPY --from=build --chown=10001:10001 /out/data /data
USER 10001:10001
ENV RAFT_DIR=/data
VOLUME /data
EXPOSE 8080 7000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=3 CMD ["/kvorum", "health"]
ENTRYPOINT ["/kvorum"]
