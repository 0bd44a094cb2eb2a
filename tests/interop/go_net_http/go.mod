module otp-server/tests/interop/go_net_http

go 1.24
