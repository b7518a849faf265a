# Usage: curl.sh --http1.1|--http2 VERSION PORT HOST FOLDER CERTIFICATE
set -euo pipefail
http=$1 version=$2 port=$3 host=$4 folder=$5 certificate=$6
url=https://$host:$port/
options=(--silent --verbose "$http" --tlsv"$version" --tls-max "$version" --cacert "$folder/ca.pem"
  --resolve "$host:$port:127.0.0.1" --output /dev/null --write-out '%{http_code} %{num_connects}\n')
[ "$certificate" = none ] || options+=(--cert "$folder/$certificate.pem" --key "$folder/$certificate.key")
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
# Two requests of one process share its sessions. A connection of another interface is not used again.
answers=$(curl "${options[@]}" "$url" --next --interface 127.0.0.1 "${options[@]}" "$url" 2>"$errors") || { cat "$errors" >&2; exit 1; }
resumed=$(grep -c -i 'SSL re-\?using session ID' "$errors" || true)
{
  read -r status connects
  [ "$connects" = 1 ]
  echo "$status full"
  read -r status connects
  [ "$connects" = 1 ]
  [ "$resumed" = 1 ] && echo "$status resumed" || echo "$status full"
} <<<"$answers"
