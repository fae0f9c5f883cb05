# The image of a node: the program alone, run by a user without rights.
#
#     docker build -t gusher .
#     docker run --rm -p 8001:8001 -p 127.0.0.1:8002:8002 -e GUSHER_AUTH_PASSWORD="$HASH" gusher
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN useradd --system --uid 65532 --create-home gusher
COPY --from=build /src/target/release/gusher /usr/local/bin/gusher
# Whom webhooks and connect hooks over https may trust.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# Every setting may come from the environment; mount a file of your own over this one to have more of them in one place.
RUN mkdir /etc/gusher && echo '{}' > /etc/gusher/config.json
USER gusher
# Apps registered while running are kept here; mount a volume to keep them longer than the container.
WORKDIR /home/gusher
EXPOSE 8001 8002
# Where the private listener is elsewhere, or speaks TLS, this is to be said anew, or taken away with --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8002 && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && head -1 <&3 | grep -q ' 200 '"]
# A container has no terminal, and whoever runs it collects what it says.
ENV GUSHER_ENVIRONMENT=DEVELOPMENT
# SIGTERM closes every socket with a code that tells clients to come back; give it drain.seconds and a little more.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/gusher"]
CMD ["start", "--config", "/etc/gusher/config.json"]
