# docker build -f packaging/docker/chat-relay.Dockerfile -t chat-relay .
# docker run -v relay:/var/lib/chat-relay chat-relay init --display-name "my relay" --server smp://…
# docker run -d -v relay:/var/lib/chat-relay --stop-timeout 60 chat-relay
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked -p chat-relay

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/chat-relay chat-relay \
 && install -d -m 0700 -o chat-relay -g chat-relay /var/lib/chat-relay
COPY --from=build /source/target/release/chat-relay /usr/bin/chat-relay
USER chat-relay
ENV CHAT_RELAY_DIRECTORY=/var/lib/chat-relay
VOLUME /var/lib/chat-relay
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/chat-relay"]
CMD ["start"]
