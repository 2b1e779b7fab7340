# syntax=docker/dockerfile:1
# Both programs in one image: docker build -t kansoku .
# In the place of node_exporter's image: docker build -t kansoku-node-exporter --target node-exporter .
# Against glibc, as tested: LuaJIT does not link with Debian's musl-gcc, and the unwinder
# that Rust brings for musl refuses the tables of its compiled traces.

FROM node:22-bookworm-slim AS ui
WORKDIR /ui
COPY aggregator/ui/package.json aggregator/ui/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY aggregator/ui ./
RUN npm run build

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends mold && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
COPY --from=ui /ui/dist aggregator/ui/dist
RUN cargo build --release --locked --bins \
 && mkdir /out && cp target/release/kansoku-agent target/release/kansoku-aggregator /out/

FROM gcr.io/distroless/cc-debian12 AS node-exporter
COPY --from=build /out/kansoku-agent /bin/
COPY LICENSE /LICENSE
USER nobody
EXPOSE 9100
ENTRYPOINT ["/bin/kansoku-agent", "node-exporter"]

FROM gcr.io/distroless/cc-debian12
COPY --from=build /out/ /bin/
COPY LICENSE /LICENSE
ENTRYPOINT ["/bin/kansoku-agent"]
