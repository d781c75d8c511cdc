# Settings of this installation. scripts/build.sh reads them, sourced by bash in the build directory; run it again
# after a change. What must be changed: TPROXY_PUBLIC_DOMAIN, TPROXY_CERT and TPROXY_KEY.

# The internal port for teepod to listen to requests from you
TEEPOD_RPC_LISTEN_PORT=9080
# The start CID for teepod to allocate to CVMs
TEEPOD_CID_POOL_START=20000

# The internal port for kms to listen to requests from CVMs
KMS_RPC_LISTEN_PORT=9043
# The internal port for tproxy to listen to requests from CVMs
TPROXY_RPC_LISTEN_PORT=9070
# The internal port for tproxy to listen to operators: dashboard and `dstack proxy`, with the token in certs/tproxy.token
TPROXY_ADMIN_LISTEN_PORT=9071

# WireGuard interface name for tproxy: at most 15 characters, unique on the machine
TPROXY_WG_INTERFACE=tproxy-dstack
# WireGuard listening port for tproxy
TPROXY_WG_LISTEN_PORT=9182
# WireGuard server IP for tproxy
TPROXY_WG_IP=10.0.3.1
# WireGuard client IP range
TPROXY_WG_CLIENT_IP_RANGE=10.0.3.0/24
# The public port for tproxy to listen to requests that would be forwarded to app in CVMs
TPROXY_SERVE_PORT=9443
# The public port for TLS passthrough to custom domains; empty: none
TPROXY_LISTEN_PORT_PASSTHROUGH=9008

# The public domain name for tproxy. Set a wildcard DNS record (*.app.example.com) that points to this machine.
TPROXY_PUBLIC_DOMAIN=app.example.com
# Where certbot keeps accounts, keys and certificates
CERBOT_WORKDIR=$PWD/run/certbot
# The path to the TLS certificate for tproxy's public endpoint
TPROXY_CERT=${CERBOT_WORKDIR}/live/cert.pem
# The path to the TLS key for tproxy's public endpoint
TPROXY_KEY=${CERBOT_WORKDIR}/live/key.pem

# For certbot, which gets this certificate: Cloudflare's API token with Zone:Read and DNS:Edit. Empty: no certbot.toml;
# other DNS providers are set up by hand (docs/operator/certbot.md). The zone is found by itself if its id is empty.
CF_API_TOKEN=
CF_ZONE_ID=
# ACME_URL=https://acme-v02.api.letsencrypt.org/directory
ACME_URL=https://acme-staging-v02.api.letsencrypt.org/directory

# Where KMS and tproxy get Intel's collateral: a PCCS, or Intel's own service
PCCS_URL=https://api.trustedservices.intel.com
# The vsock port where this machine's quote generation service (Intel's qgsd) listens; guests get no quotes without it
QGS_PORT=4050
# A registry that guests pull images through, as they reach it (this machine is 10.0.2.2). Empty: the images' own.
DOCKER_REGISTRY=
# yes: this machine has no TDX. Guests use the development image and a simulated platform, whose quotes are real in all
# but the root key, and nothing is protected from the operator.
SIMULATED_TDX=no
