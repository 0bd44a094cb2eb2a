// Package protocol reads and writes HapticFrames on a stream of bytes.
//
// Byte 0 is the type, bytes 1 and 2 the length of the whole frame (little-endian, header included),
// the rest is a protobuf message. See proto/device-frames.md.
package protocol

import (
	"encoding/binary"
	"fmt"
	"io"

	"otp-server/tests/interop/go_gorilla/entities"
)

const (
	headerBytes   = 3
	frameBytesMax = 1024
)

// HapticFrame is one frame: its type and its serialized message.
type HapticFrame struct {
	Type entities.FrameType
	Data []byte
}

// NewHapticFrame makes a frame around a serialized message.
func NewHapticFrame(frameType entities.FrameType, data []byte) *HapticFrame {
	return &HapticFrame{Type: frameType, Data: data}
}

// WriteFrame writes the frame in one call of stream.Write.
func (f *HapticFrame) WriteFrame(stream io.Writer) error {
	length := headerBytes + len(f.Data)
	if length > frameBytesMax {
		return fmt.Errorf("frame of %d bytes is longer than %d", length, frameBytesMax)
	}
	if f.Type < 0 || f.Type > 255 {
		return fmt.Errorf("frame type %d is not one byte", f.Type)
	}
	buffer := make([]byte, headerBytes, length)
	buffer[0] = byte(f.Type)
	binary.LittleEndian.PutUint16(buffer[1:], uint16(length))
	_, err := stream.Write(append(buffer, f.Data...))
	return err
}

// ReadNextFrame reads exactly one frame.
func ReadNextFrame(stream io.Reader) (*HapticFrame, error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(stream, header[:]); err != nil {
		return nil, err
	}
	length := int(binary.LittleEndian.Uint16(header[1:]))
	if length < headerBytes || length > frameBytesMax {
		return nil, fmt.Errorf("invalid frame length %d", length)
	}
	data := make([]byte, length-headerBytes)
	if _, err := io.ReadFull(stream, data); err != nil {
		return nil, err
	}
	return NewHapticFrame(entities.FrameType(header[0]), data), nil
}
