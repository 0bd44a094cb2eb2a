#!/bin/sh
# A back end on curl: a token, an OTP process, and the codes that come on standard input.
#
#   curl.sh URL CLIENT_ID CLIENT_SECRET TYPE EMAIL
#
# Prints the uuid of the process, then for each code whether it was accepted.
set -eu
base=$1 client_id=$2 client_secret=$3 type=$4 email=$5

ask() { curl --silent --show-error --fail-with-body --max-time 20 --noproxy '*' "$@"; }
member() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }

# As in the source's documentation: the parameters in the target.
token=$(ask -X POST "$base/oauth/token?grant_type=client_credentials&client_id=$client_id&client_secret=$client_secret" | member access_token)
json='Content-Type: application/json'
uuid=$(ask -H "bsauth: $token" -H "$json" -d "{\"type\":\"$type\",\"email\":\"$email\"}" "$base/otp/init" | member uuid)
echo "$uuid"
while read -r code; do
  echo "$(ask -X PUT -H "bsauth: $token" -H "$json" -d "{\"code\":\"$code\"}" "$base/otp/$uuid/attempt" | member accepted)"
done
