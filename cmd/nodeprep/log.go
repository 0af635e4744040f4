package main

import (
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

// newLogger writes readable lines to a stream. Under systemd only nodeprep's
// own troubles go this way; what concerns the node is native journal entries.
func newLogger(w io.Writer) *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{
		TimeKey: "t", LevelKey: "l", MessageKey: "m", ConsoleSeparator: "  ",
		EncodeTime: zapcore.TimeEncoderOfLayout("15:04:05"), EncodeLevel: zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
	})
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(w), zapcore.InfoLevel))
}

// logEntry writes a journal entry as a line.
func logEntry(log *zap.Logger, e host.Entry) {
	level := zapcore.InfoLevel
	switch {
	case e.Priority <= 3:
		level = zapcore.ErrorLevel
	case e.Priority == 4:
		level = zapcore.WarnLevel
	}
	var fields []zap.Field
	if r := e.Fields["NODEPREP_REMEDY"]; r != "" && e.Priority <= 4 {
		fields = append(fields, zap.String("fix", r))
	}
	log.Log(level, e.Message, fields...)
}
