# Usage: gnutls.sh VERSION PORT HOST FOLDER CERTIFICATE
set -euo pipefail
version=$1 port=$2 host=$3 folder=$4 certificate=$5
options=(--x509cafile "$folder/ca.pem" --sni-hostname "$host" --verify-hostname "$host" --port "$port"
  --priority "NORMAL:-VERS-ALL:+VERS-TLS$version")
[ "$certificate" = none ] || options+=(--x509certfile "$folder/$certificate.pem" --x509keyfile "$folder/$certificate.key")
printf -v request 'GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$host"
# With --resume there are two connections, and the request goes over the second one.
for more in --no-tofu '--resume --waitresumption'; do
  # shellcheck disable=SC2086
  output=$(gnutls-cli "${options[@]}" $more 127.0.0.1 <<<"$request" 2>&1) || { echo "$output" >&2; exit 1; }
  status=$(sed -n 's/^HTTP\/1\.1 \([0-9]*\) .*/\1/p' <<<"$output")
  if grep -q 'This is a resumed session' <<<"$output"; then echo "$status resumed"; else echo "$status full"; fi
done
