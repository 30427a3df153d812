//go:build tools

// Package cli pins the bosh CLI that the tests build, with the checksums of all it is made of.
package cli

import _ "github.com/cloudfoundry/bosh-cli/v7"
