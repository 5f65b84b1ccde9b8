# penstock serve in an image with nothing else in it, for a user without rights:
#
#     docker build -t penstock .
#     docker run --rm -p 9000:9000 penstock serve -f echo_messages

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /penstock ./cmd/penstock

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /penstock /penstock
# All interfaces of the container, which only has those that it is given.
ENV WS_HOST=0.0.0.0
EXPOSE 9000
ENTRYPOINT ["/penstock"]
CMD ["serve"]
