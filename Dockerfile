# syntax=docker/dockerfile:1
# All programs in one image: docker build -t kansoku .
# In the place of node_exporter's image: docker build -t kansoku-node-exporter --target node-exporter .
# Without a registry, from programs built on this machine (`make image` does it): --build-arg PROGRAMS=built
# Against glibc, as tested: LuaJIT does not link with Debian's musl-gcc, and the unwinder
# that Rust brings for musl refuses the tables of its compiled traces.
ARG PROGRAMS=compiled

FROM node:22-bookworm-slim AS ui
WORKDIR /ui
COPY aggregator/ui/package.json aggregator/ui/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY aggregator/ui ./
RUN npm run build

FROM rust:1.95-bookworm AS compiled
RUN apt-get update && apt-get install -y --no-install-recommends mold tzdata ca-certificates && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
COPY --from=ui /ui/dist aggregator/ui/dist
RUN cargo build --release --locked --bins && deploy/image.sh target/release /image

FROM scratch AS built
COPY target/image /image

FROM ${PROGRAMS} AS programs

FROM scratch AS node-exporter
COPY --from=programs /image/common/ /image/agent/ /
COPY LICENSE /LICENSE
# nobody
USER 65534
EXPOSE 9100
ENTRYPOINT ["/bin/kansoku-agent", "node-exporter"]

FROM scratch AS kansoku
COPY --from=programs /image/common/ /image/agent/ /image/aggregator/ /image/cli/ /
COPY LICENSE /LICENSE
ENTRYPOINT ["/bin/kansoku-agent"]
