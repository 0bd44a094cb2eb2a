module otp-server/tests/interop/go_gorilla

go 1.24

require (
	github.com/gorilla/websocket v1.5.3
	google.golang.org/protobuf v1.36.12
)
