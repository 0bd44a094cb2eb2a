module otp-server/bench/peers/go_http

go 1.24
