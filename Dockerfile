# The image of a node: the program with the C library that it needs, run by a user without rights. There is no shell in it.
# A program with musl built in would need no library, but takes twice as long for a connect and half as long again for a call.
#
#     docker build -t gusher .
#     HASH="$(docker run --rm -i gusher hash)"
#     docker run --rm -p 8001:8001 -p 127.0.0.1:8002:8002 -e GUSHER_AUTH_PASSWORD="$HASH" gusher
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin gusher
# All that the image holds. Besides the program and its libraries: whom webhooks and connect hooks over https may trust; that
# names are looked up in /etc/hosts first; and a file of settings. Every setting may come from the environment; mount a file
# of your own over this one to have more of them in one place.
RUN install -D target/release/gusher /image/usr/local/bin/gusher \
    && ldd target/release/gusher | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory=/image \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
    && mkdir /image/etc/gusher && echo '{}' > /image/etc/gusher/config.json \
    && install -d -m 700 -o 65532 -g 65532 /image/home/gusher

FROM scratch
COPY --from=build /image /
USER 65532:65532
# Apps registered while running are kept here; mount a volume to keep them longer than the container.
WORKDIR /home/gusher
EXPOSE 8001 8002
# Asks where the settings say that the private listener is.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["/usr/local/bin/gusher", "healthcheck", "--config", "/etc/gusher/config.json"]
# A container has no terminal, and whoever runs it collects what it says.
ENV GUSHER_ENVIRONMENT=DEVELOPMENT
# SIGTERM closes every socket with a code that tells clients to come back; give it drain.seconds and a little more.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/gusher"]
CMD ["start", "--config", "/etc/gusher/config.json"]
