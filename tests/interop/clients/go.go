// Usage: go-client http/1.1|h2 VERSION PORT HOST FOLDER CERTIFICATE
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	protocol, version, port, host, folder, certificate := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]
	file := func(name string) string { return filepath.Join(folder, name) }
	pem, err := os.ReadFile(file("ca.pem"))
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	versions := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	config := &tls.Config{
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
		MaxVersion:         versions[version],
		MinVersion:         versions[version],
		RootCAs:            roots,
	}
	if certificate != "none" {
		pair, err := tls.LoadX509KeyPair(file(certificate+".pem"), file(certificate+".key"))
		check(err)
		// Sent whatever authorities the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	for i := 0; i < 2; i++ {
		transport := &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
			},
			ForceAttemptHTTP2: protocol == "h2",
			TLSClientConfig:   config,
		}
		response, err := (&http.Client{Transport: transport}).Get("https://" + host + ":" + port + "/")
		check(err)
		_, err = io.Copy(io.Discard, response.Body)
		check(err)
		response.Body.Close()
		if (response.ProtoMajor == 2) != (protocol == "h2") {
			check(fmt.Errorf("%s instead of %s", response.Proto, protocol))
		}
		how := map[bool]string{false: "full", true: "resumed"}[response.TLS.DidResume]
		fmt.Println(response.StatusCode, how)
		transport.CloseIdleConnections()
	}
}
