#!/bin/sh
# Makes what the TLS configurations name, to try them: an authority and, issued by it, certificates for a server
# (server.test, *.shop.test) and for a client. Not for production: the authority's key lies beside them.
# Usage: make-certificates.sh [DIRECTORY]; without one, /tmp/ringway-certificates. Needs openssl.
set -eu
directory=${1:-/tmp/ringway-certificates}
mkdir -p "$directory"
cd "$directory"
umask 077

new_key() { # name
  openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1.key"
}

issue() { # name, subject alternative names
  new_key "$1"
  openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
  printf 'subjectAltName=%s\n' "$2" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile "$1.ext" \
    -out "$1.pem" 2> /dev/null
  rm "$1.csr" "$1.ext"
}

new_key ca
openssl req -x509 -new -key ca.key -subj "/CN=Ringway's examples" -days 3650 -out ca.pem \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
issue server 'DNS:server.test,DNS:localhost,URI:spiffe://test/server'
issue shop 'DNS:*.shop.test'
issue client 'DNS:client.test,URI:spiffe://test/client'
echo "in $directory: $(ls | tr '\n' ' ')"
