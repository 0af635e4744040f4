package bootstrap

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// userDataLimit is what EC2 takes as user data, in bytes before the base64
	// of its API (EC2 User Guide, "Run commands when you launch an EC2 instance").
	userDataLimit = 16 << 10
	// maxSourceText bounds one source or part after decompression, in bytes.
	maxSourceText = 1 << 20
	// maxEncodings bounds how many layers of gzip and base64 are undone.
	maxEncodings = 4
)

var (
	errTextTooLarge = fmt.Errorf("the decompressed text is larger than %d bytes", maxSourceText)
	gzipMagic       = []byte{0x1f, 0x8b}
	utf8BOM         = []byte("\xef\xbb\xbf")
)

// readUserData finds the pieces of user data that may hold configuration.
func (r *configReader) readUserData(s Source) {
	at := r.nextPlace(s.Name)
	u := unwrapText(s.Data)
	if u.err != nil {
		r.undecodable(at, s, u)
		return
	}
	if u.base64 > 0 {
		times := "once more than EC2 undoes"
		if u.base64 > 1 {
			times = "twice more than EC2 undoes"
		}
		r.add(at, Problem{
			Code: CFG102, Warning: true,
			Message: "the user data arrives base64-encoded: it was encoded " + times + "; cloud-init ignores it, so scripts in it do not run",
			Remedy:  "Encode user data once only: pass it as plain text to tools that encode it themselves.",
		})
	}
	if u.utf16 {
		r.unreadable = true
		r.add(at, Problem{
			Code: CFG102, Message: "the user data is UTF-16 text",
			Remedy: "Save the user data as UTF-8 (PowerShell: Out-File -Encoding utf8).",
		})
		return
	}
	full := len(s.Data) == userDataLimit
	if m, ok := readMessage(u.text); ok {
		r.readMIME(at, m, full)
		return
	}
	r.readFragment(at, "", u.text, full)
}

// undecodable reports user data or a part whose compression is broken.
func (r *configReader) undecodable(at place, s Source, u unwrapped) {
	r.unreadable = true
	p := Problem{Code: CFG102, Message: "the gzip data cannot be decompressed: " + u.err.Error(), Remedy: "Compress the user data again, or give it uncompressed."}
	switch {
	case errors.Is(u.err, errTextTooLarge):
		p.Message = u.err.Error()
		p.Remedy = fmt.Sprintf("Keep the decompressed configuration below %d bytes.", maxSourceText)
	case errors.Is(u.err, io.ErrUnexpectedEOF) && len(s.Data) == userDataLimit:
		p.Message = truncatedText("in the middle of its gzip data")
		p.Remedy = truncatedRemedy
	}
	r.add(at, p)
}

const truncatedRemedy = "Make the user data smaller than 16384 bytes, for example by compressing it with gzip."

// truncatedText says that user data was cut off at EC2's limit.
func truncatedText(where string) string {
	return fmt.Sprintf("the user data is exactly %d bytes long, EC2's limit, and ends %s: it was cut off", userDataLimit, where)
}

// unwrapped is text freed of its encodings.
type unwrapped struct {
	text   []byte
	base64 int  // layers of base64 undone
	utf16  bool // text starts with a UTF-16 byte order mark; it was left alone
	err    error
}

// unwrapText undoes gzip and base64, in whatever order they were applied, and
// drops a UTF-8 byte order mark. Text that is neither comes back unchanged.
func unwrapText(data []byte) unwrapped {
	u := unwrapped{text: data}
	for range maxEncodings {
		if bytes.HasPrefix(u.text, gzipMagic) {
			if u.text, u.err = gunzip(u.text); u.err != nil {
				return u
			}
			continue
		}
		u.text = bytes.TrimPrefix(u.text, utf8BOM)
		decoded, ok := decodeBase64Text(u.text, maxEncodings)
		if !ok {
			break
		}
		u.text = decoded
		u.base64++
	}
	u.text = bytes.TrimPrefix(u.text, utf8BOM)
	if len(u.text) > maxSourceText {
		u.err = errTextTooLarge
	}
	u.utf16 = bytes.HasPrefix(u.text, []byte("\xff\xfe")) || bytes.HasPrefix(u.text, []byte("\xfe\xff"))
	return u
}

// gunzip decompresses all members of a gzip stream, up to maxSourceText bytes.
func gunzip(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(z, maxSourceText+1))
	switch {
	case len(text) > maxSourceText:
		return nil, errTextTooLarge
	case err != nil:
		return nil, err
	}
	return text, nil
}

// decodeBase64Text decodes text that is base64 and nothing else. A trial decode
// alone would mangle plain text made of the same letters, so the result must
// also be something: gzip, text of one of the known forms, or base64 of those.
func decodeBase64Text(text []byte, depth int) ([]byte, bool) {
	compact := withoutSpace(text)
	if len(compact) < 16 || depth == 0 {
		return nil, false
	}
	for _, c := range compact {
		if !isBase64(c) {
			return nil, false
		}
	}
	encoding := base64.StdEncoding
	if !bytes.HasSuffix(compact, []byte("=")) && len(compact)%4 != 0 {
		encoding = base64.RawStdEncoding
	}
	decoded := make([]byte, encoding.DecodedLen(len(compact)))
	n, err := encoding.Decode(decoded, compact)
	if err != nil {
		return nil, false
	}
	decoded = decoded[:n]
	if bytes.HasPrefix(decoded, gzipMagic) || isConfigText(decoded) {
		return decoded, true
	}
	_, again := decodeBase64Text(decoded, depth-1)
	return decoded, again
}

// isConfigText reports whether b can be a message, a document or a script.
func isConfigText(b []byte) bool {
	b = bytes.TrimPrefix(b, utf8BOM)
	return utf8.Valid(b) && !bytes.ContainsRune(b, 0) &&
		(bytes.ContainsRune(b, ':') || bytes.HasPrefix(b, []byte("#")))
}

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '='
}

// withoutSpace removes ASCII white space.
func withoutSpace(b []byte) []byte {
	return slices.DeleteFunc(bytes.Clone(b), func(c byte) bool {
		return c == ' ' || c == '\t' || c == '\r' || c == '\n'
	})
}

// readFragment reads one piece of user data: all of it, or one part. full says
// that the user data has EC2's greatest length and may have been cut off.
func (r *configReader) readFragment(at place, mediaType string, text []byte, full bool) {
	form := foreignForm(text)
	if mediaType == "" && form == "" {
		if line, ok := indentedMessage(text); ok {
			r.unreadable = true
			at.line = line
			r.add(at, Problem{
				Code: CFG102, Message: "the MIME header is indented, so neither cloud-init nor nodeprep can see the parts",
				Remedy: "Begin every line of the MIME message in the first column (Terraform: <<-EOT removes indentation).",
			})
			return
		}
		r.readDocuments(at, text, full)
		return
	}
	if isOurs(mediaType) {
		r.readDocuments(at, text, full)
		return
	}
	r.noteForeign(at, mediaType, form, text)
}

// noteForeign remembers a script or another agent's document and reports one
// that was probably meant for nodeprep.
func (r *configReader) noteForeign(at place, mediaType, form string, text []byte) {
	what := form
	if what == "" {
		what = "of type " + excerpt(mediaType)
	}
	f := foreign{at: at, what: what}
	script := strings.HasSuffix(form, "script")
	for i, line := range strings.Split(string(text), "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case f.bootstrap == 0 && !strings.HasPrefix(trimmed, "#") && strings.Contains(trimmed, "/etc/eks/bootstrap.sh"):
			f.bootstrap = i + 1
		case f.looksOurs == 0 && !script && isOurAPIVersion(line):
			f.looksOurs = i + 1
		}
	}
	r.foreign = append(r.foreign, f)
}

// isOurAPIVersion reports whether a line is the apiVersion of one of our kinds.
func isOurAPIVersion(line string) bool {
	value, ok := strings.CutPrefix(line, "apiVersion:")
	value = strings.Trim(value, " \t\r\"'")
	return ok && (strings.HasPrefix(value, nodeConfigGroup) || strings.HasPrefix(value, prepConfigGroup))
}

// foreign is a piece of user data that belongs to somebody else.
type foreign struct {
	at        place
	what      string // "a shell script"
	bootstrap int    // line of the call of /etc/eks/bootstrap.sh, 0 for none
	looksOurs int    // line of an apiVersion of ours, 0 for none
}

// foreignForm names the known forms of user data that are not configuration of
// ours, by their first line; it is empty for all others.
func foreignForm(text []byte) string {
	text = bytes.TrimLeft(text, " \t\r\n")
	first, _, _ := bytes.Cut(text, []byte("\n"))
	line := strings.ToLower(strings.TrimSpace(string(first)))
	for _, f := range []struct{ prefix, what string }{
		{"#!", "a shell script"},
		{"#cloud-config-archive", "a cloud-config archive"},
		{"#cloud-config", "a cloud-config document"},
		{"#cloud-boothook", "a cloud-init boothook script"},
		{"#include", "a cloud-init include list"},
		{"#part-handler", "a cloud-init part handler"},
		{"## template:", "a cloud-init template"},
		{"<powershell>", "a Windows PowerShell script"},
		{"<script>", "a Windows batch script"},
		{"[settings", "a Bottlerocket settings file"},
	} {
		if strings.HasPrefix(line, f.prefix) {
			return f.what
		}
	}
	return ""
}
