# What a contributor runs. CI runs .ci/run, which calls the same things.

STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 30s

.PHONY: build generate test race fuzz lint cross bench agree screenshots release verify licences vulnerabilities

build: ## the command, as bin/penstock
	go build -o bin/penstock ./cmd/penstock

generate: ## pages and pictures that are made from the code; tests fail while they are stale
	go generate ./...

test:
	go test ./...

race:
	go test -race ./...
	go test -race ./engine -args -io=epoll

# Everything compiles for the others, and with vet the tests do, too.
cross:
	GOOS=linux GOARCH=arm64 go vet ./...
	GOOS=darwin GOARCH=arm64 go vet ./...
	GOOS=windows GOARCH=amd64 go vet ./...
	GOOS=freebsd GOARCH=amd64 go vet ./engine/... ./cmd/penstock
	GOOS=openbsd GOARCH=amd64 go build ./engine/... ./cmd/...
	GOOS=linux GOARCH=386 go build ./...

# Each fuzz target for FUZZTIME. A crasher becomes a seed in testdata. Inputs that
# cover something new are made small for a moment only: where goroutines decide what
# is covered, Go would otherwise spend a minute on each, and that is all the time.
fuzz:
	@go list ./... | while read -r pkg; do \
		go test -list '^Fuzz' "$$pkg" | grep '^Fuzz' | while read -r target; do \
			echo "$$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$pkg" || exit 1; \
		done || exit 1; \
	done

# golangci-lint if it is installed, with .golangci.yml; staticcheck and vet always.
lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'not gofmt-ed: run gofmt -w .'; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	cd bench/peers && go vet ./... && go run $(STATICCHECK) ./...
	cd .ci/release && go vet ./... && go run $(STATICCHECK) ./...
	@if command -v golangci-lint >/dev/null; then golangci-lint run ./...; fi

# Against raw gws in the same run: server on one core, client on another.
# Prints ratios of server CPU per message, and fails past the project's limits.
bench: build
	cd bench/peers && go run ./versus -check -penstock ../../bin/penstock

# Does the harness find what another client finds? Only on a quiet machine.
agree:
	go test -tags measure -run TestAgreesWithAnother -v ./bench

# The pictures in docs/images, of a running server and of a report: Chromium, two minutes.
screenshots:
	go test -count=1 -tags screenshots -v -run '^TestScreenshot' ./engine/page

# What is committed, for six systems, into dist: archives, bills of materials, checksums.
release:
	rm -rf dist
	cd .ci/release && go run . build ../../dist

# The same again, with nothing cached, gives the same bytes? VERIFY="linux/amd64" for some only.
verify:
	cd .ci/release && go run . verify ../../dist $(VERIFY)

# Is everything that we depend on under a licence that asks for nothing but notices?
licences:
	cd .ci/release && go run . licences

# Does our code call what is known to be vulnerable? VULNDB=file:///... is a copy of the database.
vulnerabilities:
	bash .ci/vulnerabilities
