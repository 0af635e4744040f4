package vpc

import "slices"

// Counts is what the VPC's services saw since it was built or since ResetCounts.
type Counts struct {
	Questions   int // DNS questions, over all servers
	Connections int // TCP connections to port 443
	Handshakes  int // of them, those whose TLS handshake passed
	Requests    int // HTTP requests over them
	AWSRequests int // of them, those to anything but the API server

	MetadataRequests    int // token requests included
	TokenRequests       int
	MetadataConnections int
}

// Counts returns what was seen so far.
func (v *VPC) Counts() Counts {
	m := v.metadata.Counts()
	c := Counts{
		MetadataRequests:    m.Requests,
		TokenRequests:       m.TokenRequests,
		MetadataConnections: m.Connections,
	}
	v.resolver.mu.Lock()
	c.Questions = v.resolver.count
	v.resolver.mu.Unlock()
	for _, e := range v.endpoints {
		n := int(e.requests.Load())
		c.Connections += int(e.connections.Load())
		c.Handshakes += int(e.handshakes.Load())
		c.Requests += n
		if e.service != APIServer {
			c.AWSRequests += n
		}
	}
	return c
}

// ServiceCounts returns the Connections, Handshakes and Requests of one service.
func (v *VPC) ServiceCounts(service string) Counts {
	e := v.endpoint(service)
	if e == nil {
		return Counts{}
	}
	return Counts{
		Connections: int(e.connections.Load()),
		Handshakes:  int(e.handshakes.Load()),
		Requests:    int(e.requests.Load()),
	}
}

// Questions returns the DNS questions, oldest first. It keeps the first 65536.
func (v *VPC) Questions() []Question {
	v.resolver.mu.Lock()
	defer v.resolver.mu.Unlock()
	return slices.Clone(v.resolver.questions)
}

// ResetCounts begins all counts and logs anew.
func (v *VPC) ResetCounts() {
	v.metadata.Reset()
	v.resolver.mu.Lock()
	v.resolver.count, v.resolver.questions = 0, nil
	v.resolver.mu.Unlock()
	for _, e := range v.endpoints {
		e.connections.Store(0)
		e.handshakes.Store(0)
		e.requests.Store(0)
	}
}
