package bootstrap

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"slices"
	"strconv"
	"strings"
)

// The media types of our parts.
const (
	nodeConfigMediaType = "application/node.eks.aws"
	prepConfigMediaType = "application/nodeprep.io"
)

const (
	maxMIMEParts = 256
	maxMIMEDepth = 8
)

// isOurs reports whether a part of this media type holds our documents.
func isOurs(mediaType string) bool {
	return mediaType == nodeConfigMediaType || mediaType == prepConfigMediaType
}

// A message is a MIME entity: a header and the bytes after it. The reader is
// our own because mime/multipart gives up on the whole message where one
// part's header is malformed (awslabs/amazon-eks-ami issue 2318).
type message struct {
	header []headerField
	body   []byte
	// skipped says that the header did not begin on the first line, for which
	// cloud-init takes the whole text as one plain part.
	skipped bool
}

type headerField struct{ name, value string } // name in lower case

// get returns the first field of the name, as cloud-init's e-mail parser does
// for the doubled headers that eksctl writes.
func (m message) get(name string) string {
	for _, f := range m.header {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

// mediaType returns the media type in lower case, without its parameters.
func (m message) mediaType() string {
	t, _, _ := strings.Cut(m.get("content-type"), ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// readMessage reads text as a MIME message: one whose header names a
// Content-Type. Lines before it that are blank or comments are skipped.
func readMessage(text []byte) (message, bool) {
	skipped := false
	for rest := text; len(rest) > 0; {
		line, after := cutLine(rest)
		trimmed := strings.TrimSpace(line)
		if trimmed != "" && (!strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "#!")) {
			m := readHeader(rest)
			m.skipped = skipped
			return m, m.get("content-type") != ""
		}
		skipped = true
		rest = after
	}
	return message{}, false
}

// readHeader reads header fields up to a blank line or the first line that
// cannot be one; the body begins there.
func readHeader(text []byte) message {
	var m message
	rest := text
	for len(rest) > 0 {
		line, after := cutLine(rest)
		if line == "" {
			rest = after
			break
		}
		if (line[0] == ' ' || line[0] == '\t') && len(m.header) > 0 {
			last := &m.header[len(m.header)-1]
			last.value += " " + strings.TrimSpace(line)
			rest = after
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isHeaderName(name) {
			break
		}
		m.header = append(m.header, headerField{strings.ToLower(name), strings.TrimSpace(value)})
		rest = after
	}
	m.body = rest
	return m
}

// isHeaderName reports whether a name can stand before the colon of a header
// field. The keys of our documents cannot: a document directly under a header,
// without the blank line, still is a document.
func isHeaderName(name string) bool {
	if name == "" || slices.Contains([]string{"apiVersion", "kind", "metadata", "spec"}, name) {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// cutLine splits off the first line, without its line end.
func cutLine(text []byte) (line string, rest []byte) {
	l, rest, _ := bytes.Cut(text, []byte("\n"))
	return strings.TrimSuffix(string(l), "\r"), rest
}

// indentedMessage finds a MIME header that is indented and returns its line.
func indentedMessage(text []byte) (line int, ok bool) {
	for i, l := range strings.SplitN(string(text), "\n", 12) {
		trimmed := strings.TrimLeft(l, " \t")
		if len(trimmed) < len(l) && strings.HasPrefix(strings.ToLower(trimmed), "content-type: multipart/") {
			return i + 1, true
		}
	}
	return 0, false
}

// readMIME reads all parts of a message.
func (r *configReader) readMIME(at place, m message, full bool) {
	if m.skipped {
		r.add(at, Problem{
			Code: CFG102, Warning: true,
			Message: "the MIME header does not begin on the first line; cloud-init takes the whole as plain text and does not run its scripts",
			Remedy:  "Remove what stands before the MIME header.",
		})
	}
	count := 0
	r.readEntity(at, m, full, 0, &count)
}

// readEntity reads one entity: a leaf, or the parts of a multipart.
func (r *configReader) readEntity(at place, m message, full bool, depth int, count *int) {
	mediaType := m.mediaType()
	if !strings.HasPrefix(mediaType, "multipart/") {
		r.readPart(at, m, mediaType, full)
		return
	}
	if depth == maxMIMEDepth {
		r.brokenMIME(at, fmt.Sprintf("multiparts are nested deeper than %d", maxMIMEDepth), "Put all parts into one multipart.")
		return
	}
	boundary := headerParameter(m.get("content-type"), "boundary")
	if boundary == "" {
		r.brokenMIME(at, "the multipart's Content-Type has no boundary", `Add boundary="…" to the Content-Type of the multipart.`)
		return
	}
	split := splitMultipart(m.body, boundary)
	if len(split.parts) == 0 {
		r.brokenMIME(at, "the boundary "+excerpt(boundary)+" occurs nowhere in the multipart", "Use the same boundary in the header and, after two hyphens, before each part.")
		return
	}
	cut := full && !split.closed
	if !split.closed {
		r.unterminated(at, len(split.parts), cut)
	}
	if split.after {
		r.add(at, Problem{
			Code: CFG102, Warning: true,
			Message: "there are more parts after the closing boundary; nothing reads them",
			Remedy:  "Move the closing boundary, the one that ends with two hyphens, behind the last part.",
		})
	}
	for i, body := range split.parts {
		if *count++; *count > maxMIMEParts {
			r.brokenMIME(at, fmt.Sprintf("there are more than %d parts", maxMIMEParts), "Use fewer parts.")
			return
		}
		part := r.nextPlace(at.source)
		part.part = strconv.Itoa(i + 1)
		if at.part != "" {
			part.part = at.part + "." + part.part
		}
		known := len(r.problems)
		r.readEntity(part, readHeader(body), false, depth+1, count)
		if cut && i == len(split.parts)-1 {
			r.problems = r.problems[:known] // what is wrong with half a part says nothing
		}
	}
}

// unterminated reports a multipart whose closing boundary is missing.
func (r *configReader) unterminated(at place, parts int, full bool) {
	if full {
		r.unreadable = true
		r.add(at, Problem{Code: CFG102, Message: truncatedText(fmt.Sprintf("inside part %d", parts)), Remedy: truncatedRemedy})
		return
	}
	r.add(at, Problem{
		Code: CFG102, Warning: true, Message: "the closing boundary is missing; the last part is taken to the end",
		Remedy: "End the multipart with its boundary between two pairs of hyphens.",
	})
}

// brokenMIME reports a structure without which parts cannot be told apart.
func (r *configReader) brokenMIME(at place, message, remedy string) {
	r.unreadable = true
	r.add(at, Problem{Code: CFG102, Message: message, Remedy: remedy})
}

// readPart undoes the encodings of a leaf and reads it.
func (r *configReader) readPart(at place, m message, mediaType string, full bool) {
	text, err := decodeTransfer(m.get("content-transfer-encoding"), m.body)
	u := unwrapped{text: text, err: err}
	if err == nil {
		u = unwrapText(text)
	}
	switch {
	case !isOurs(mediaType):
		if u.err != nil { // not ours to judge
			u.text = nil
		}
		if mediaType == "" {
			mediaType = "text/plain" // RFC 2045 section 5.2
		}
		r.readFragment(at, mediaType, u.text, full)
	case err != nil:
		r.brokenMIME(at, err.Error(), "Encode the part again, or give it as plain text with Content-Transfer-Encoding 7bit.")
	case u.err != nil:
		r.undecodable(at, Source{}, u)
	default:
		r.readFragment(at, mediaType, u.text, full)
	}
}

var errNotQuotedPrintable = errors.New("the part is not the quoted-printable that its Content-Transfer-Encoding announces")

// decodeTransfer undoes a Content-Transfer-Encoding (RFC 2045 section 6).
func decodeTransfer(encoding string, body []byte) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "7bit", "8bit", "binary":
		return body, nil
	case "base64":
		compact := bytes.TrimRight(withoutSpace(body), "=")
		text, err := base64.RawStdEncoding.AppendDecode(nil, compact)
		if err != nil {
			return nil, fmt.Errorf("the part is not the base64 that its Content-Transfer-Encoding announces: %w", err)
		}
		return text, nil
	case "quoted-printable":
		text, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
		if err != nil {
			// Its text quotes the part, which may hold a secret.
			return nil, errNotQuotedPrintable
		}
		return text, nil
	default:
		return nil, fmt.Errorf("the Content-Transfer-Encoding %s is not known", excerpt(encoding))
	}
}

// headerParameter returns a parameter of a header value. Unlike RFC 2045 it
// takes any character in an unquoted value: Karpenter's boundary is //, and
// tools that rewrite the header drop the quotes.
func headerParameter(value, name string) string {
	_, rest, _ := strings.Cut(value, ";")
	for rest != "" {
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			return ""
		}
		// A parameter without a value may stand before this one.
		if i := strings.LastIndexByte(key, ';'); i >= 0 {
			key = key[i+1:]
		}
		var v string
		v, rest = parameterValue(strings.TrimLeft(after, " \t"))
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return v
		}
	}
	return ""
}

// parameterValue splits off a value and the semicolon after it.
func parameterValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, ";")
		return strings.TrimSpace(value), rest
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		case '"':
			_, rest, _ = strings.Cut(s[i+1:], ";")
			return b.String(), rest
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

// multipartSplit is a multipart's body taken apart.
type multipartSplit struct {
	parts  [][]byte
	closed bool // the closing boundary was found
	after  bool // boundaries follow the closing one
}

// splitMultipart cuts a body at the lines that consist of its boundary. What
// stands before the first one is preamble.
func splitMultipart(body []byte, boundary string) multipartSplit {
	var s multipartSplit
	start := -1
	for offset := 0; offset < len(body); {
		line, rest := cutLine(body[offset:])
		next := len(body) - len(rest)
		mark, ok := strings.CutPrefix(strings.TrimRight(line, " \t"), "--"+boundary)
		if ok && (mark == "" || mark == "--") {
			switch {
			case s.closed:
				s.after = true
			case start >= 0:
				// The line end before a boundary belongs to the boundary (RFC 2046 section 5.1.1).
				part := bytes.TrimSuffix(body[start:offset], []byte("\n"))
				s.parts = append(s.parts, bytes.TrimSuffix(part, []byte("\r")))
			}
			s.closed = s.closed || mark == "--"
			start = next
		}
		offset = next
	}
	if start >= 0 && !s.closed {
		s.parts = append(s.parts, body[start:])
	}
	return s
}
