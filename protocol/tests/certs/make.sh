#!/bin/sh
# Makes the certificates of this directory anew with the openssl command (3.0 or later). Valid until the year 4764,
# as those of real servers are, except the expired one. The keys are test keys: they protect nothing.
set -eu
cd "$(dirname "$0")"
rm -f *.pem *.key
days=999999
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

authority_extensions='basicConstraints=critical,CA:true'
leaf_extensions='basicConstraints=CA:FALSE
keyUsage=digitalSignature,nonRepudiation,keyAgreement
extendedKeyUsage=serverAuth'

printf '[req]\ndistinguished_name=dn\n[dn]\n' >"$work/req.cnf"

# root NAME ALGORITHM SUBJECT: a self-signed authority
root() {
    openssl genpkey -algorithm "$2" -out "$1.key"
    openssl req -new -x509 -key "$1.key" -subj "$3" -days $days -addext "$authority_extensions" \
        -addext subjectKeyIdentifier=hash -config "$work/req.cnf" -out "$1.pem"
}

# issue NAME ALGORITHM SUBJECT ISSUER EXTENSIONS [FROM TO]
issue() {
    openssl genpkey -algorithm "$2" -out "$1.key"
    openssl req -new -key "$1.key" -subj "$3" -config "$work/req.cnf" -out "$work/$1.csr"
    printf '%s\n' "$5" >"$work/$1.ext"
    if [ $# -gt 5 ]; then
        mkdir -p "$work/ca"; : >"$work/ca/index"; echo 01 >"$work/ca/serial"
        printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s/ca/index\nserial=%s/ca/serial\nnew_certs_dir=%s/ca\ndefault_md=default\npolicy=p\nrand_serial=yes\n[p]\ncommonName=supplied\n' \
            "$work" "$work" "$work" >"$work/ca.cnf"
        openssl ca -batch -notext -config "$work/ca.cnf" -cert "$4.pem" -keyfile "$4.key" -startdate "$6" -enddate "$7" \
            -extfile "$work/$1.ext" -in "$work/$1.csr" -out "$1.pem" 2>/dev/null
    else
        openssl x509 -req -in "$work/$1.csr" -CA "$4.pem" -CAkey "$4.key" -set_serial "0x$(openssl rand -hex 8)" \
            -days $days -extfile "$work/$1.ext" -out "$1.pem" 2>/dev/null
    fi
}

ca_name='/CN=SMP server CA/O=SimpleX'
for algorithm in ed25519 ed448; do
    root $algorithm-ca $algorithm "$ca_name"
    issue $algorithm-leaf $algorithm /CN=localhost $algorithm-ca "$leaf_extensions"
done

# operator ← id ← leaf, and network ← operator ← id ← leaf
root network ed25519 '/CN=Network'
issue operator ed25519 '/CN=Operator' network 'basicConstraints=critical,CA:true,pathlen:1
keyUsage=keyCertSign'
issue operated-id ed25519 '/CN=Operated server CA' operator "$authority_extensions"
issue operated-leaf ed25519 /CN=localhost operated-id "$leaf_extensions"
# the same, but the certificate in the middle may not issue
issue powerless-id ed25519 '/CN=Powerless' operator 'basicConstraints=CA:FALSE'
issue powerless-leaf ed25519 /CN=localhost powerless-id "$leaf_extensions"

# an attacker's authorities: one with a name of its own, one with the genuine authority's name
root attacker-ca ed25519 '/CN=Attacker'
issue attacker-leaf ed25519 /CN=localhost attacker-ca "$leaf_extensions"
root namesake-ca ed25519 "$ca_name"
issue namesake-leaf ed25519 /CN=localhost namesake-ca "$leaf_extensions"

# leaves that are refused for themselves
issue expired-leaf ed25519 /CN=localhost ed25519-ca "$leaf_extensions" 20200101000000Z 20210101000000Z
issue future-leaf ed25519 /CN=localhost ed25519-ca "$leaf_extensions" 99980101000000Z 99991231235959Z
issue encipher-leaf ed25519 /CN=localhost ed25519-ca 'keyUsage=keyAgreement'
rm -f -- *-ca.key network.key operator.key *-id.key
