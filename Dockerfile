# docker build -t callscope .
# docker run -p 127.0.0.1:8000:8000 -v callscope:/data \
#   -e CALLSCOPE_TOKENS="admin:ALL:$(openssl rand -hex 24 | tee token)" callscope

FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches stay on the build machine; what is copied out of them makes the layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --workspace --locked --profile dist \
    && install -D target/dist/callscope /out/callscope \
    && mkdir /out/data

# glibc and nothing else: SQLite, TLS, certificate authorities and time zones are in the binary.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/callscope /usr/local/bin/callscope
# Owned by the image's user, 65532, and so is a new volume that is mounted there.
COPY --from=build --chown=nonroot:nonroot /out/data /data
WORKDIR /data
VOLUME /data
ENV CALLSCOPE_LISTEN=0.0.0.0:8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["callscope", "health"]
ENTRYPOINT ["callscope"]
CMD ["serve"]
