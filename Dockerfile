# syntax=docker/dockerfile:1
# Both programs in one image of two static binaries: docker build -t kansoku .

FROM node:22-bookworm-slim AS ui
WORKDIR /ui
COPY aggregator/ui/package.json aggregator/ui/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY aggregator/ui ./
RUN npm run build

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools && rm -rf /var/lib/apt/lists/*
RUN rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /src
COPY . .
COPY --from=ui /ui/dist aggregator/ui/dist
RUN cargo build --release --locked --target "$(uname -m)-unknown-linux-musl" --bins \
 && mkdir /out && cp target/*/release/kansoku-agent target/*/release/kansoku-aggregator /out/

FROM gcr.io/distroless/static-debian12
COPY --from=build /out/ /bin/
COPY LICENSE /LICENSE
ENTRYPOINT ["/bin/kansoku-agent"]
