#!/usr/bin/env bash
# Makes what deploy/secured needs, as manifests on the standard output: an authority with the aggregator's certificate
# (secret kansoku-tls), and an admin's, a viewer's and an agent's token (secret kansoku-auth).
#   deploy/secured/secrets.sh [NAMESPACE] [FURTHER_NAME...] | kubectl apply -f -
# Again, it makes others: agents and people need the new ones then.
set -euo pipefail
for program in openssl base64 sha256sum; do
  command -v "$program" >/dev/null || { echo "secrets.sh: $program is missing" >&2; exit 1; }
done
namespace=${1:-kansoku}
shift || true
days=3650 host=kansoku-aggregator
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077
cd "$work"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $days -subj "/CN=kansoku authority" \
  -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.crt 2>/dev/null
names=IP:127.0.0.1
for name in $host "$host.$namespace" "$host.$namespace.svc" "$host.$namespace.svc.cluster.local" localhost "$@"; do
  names+=,DNS:$name
done
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$host" -keyout tls.key -out tls.csr 2>/dev/null
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days $days -out tls.crt \
  -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$names") 2>/dev/null

echo tokens: >access.yaml
for role in admin viewer agent; do
  printf 'kansoku_%s' "$(openssl rand -hex 32)" >"$role-token"
  printf '  %s: {role: %s, sha256: %s}\n' "$role" "$role" "$(sha256sum <"$role-token" | cut -d' ' -f1)" >>access.yaml
done

secret() { # NAME FILE...
  printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\ntype: Opaque\ndata:\n' "$1" "$namespace"
  for file in "${@:2}"; do printf '  %s: %s\n' "$file" "$(base64 -w0 "$file")"; done
}
secret kansoku-tls ca.crt tls.crt tls.key
secret kansoku-auth access.yaml admin-token viewer-token agent-token
