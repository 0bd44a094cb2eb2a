#!/bin/sh
# Calls of both kinds on one connection of curl's.
#
#   curl_one_port.sh URL
#
# Prints the status and the size of each answer.
set -eu
base=$1
said='%{http_code} %{size_download}\n'
set -- --silent --show-error --max-time 20 --noproxy '*' -o /dev/null -w "$said"
json='Content-Type: application/json'
guess='{"otp":"123456"}'
curl "$@" -H "$json" -d "$guess" "$base/device/otp/confirm" \
  --next "$@" -H "$json" -d "$guess" "$base/device/otp/confirm" \
  --next "$@" "$base/device/server-time" \
  --next "$@" -H "$json" -d "$guess" "$base/device/otp/confirm" \
  --next "$@" "$base/-/reset"
