package main

import (
	"bytes"
	"os"
	"path/filepath"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
)

// writeBill writes the bill of materials beside the archive: CycloneDX, from what the program
// itself says that it is made of.
func writeBill(dir string, p *program, parts []part) error {
	text, err := bill(p, parts)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, p.name()+".cdx.json"), text, 0o644)
}

// bill has no serial number, which would be another each time.
func bill(p *program, parts []part) ([]byte, error) {
	main := component(part{path: p.info.Main.Path, version: p.info.Main.Version, licences: []string{"Apache-2.0"}})
	main.Type = cyclonedx.ComponentTypeApplication
	settings := []cyclonedx.Property{{Name: "go.version", Value: p.info.GoVersion}}
	for _, s := range p.info.Settings {
		settings = append(settings, cyclonedx.Property{Name: "go.build." + s.Key, Value: s.Value})
	}
	main.Properties = &settings
	var list []cyclonedx.Component
	var needs []string
	for _, part := range parts {
		c := component(part)
		list = append(list, c)
		needs = append(needs, c.BOMRef)
	}
	b := cyclonedx.NewBOM()
	b.Metadata = &cyclonedx.Metadata{Timestamp: p.time.UTC().Format(time.RFC3339), Component: &main}
	b.Components = &list
	b.Dependencies = &[]cyclonedx.Dependency{{Ref: main.BOMRef, Dependencies: &needs}}
	var text bytes.Buffer
	err := cyclonedx.NewBOMEncoder(&text, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(b, cyclonedx.SpecVersion1_6)
	return text.Bytes(), err
}

func component(p part) cyclonedx.Component {
	url := "pkg:golang/" + p.path + "@" + p.version
	c := cyclonedx.Component{
		Type: cyclonedx.ComponentTypeLibrary, BOMRef: url, PackageURL: url, Name: p.path, Version: p.version, Licenses: &cyclonedx.Licenses{},
	}
	for _, name := range p.licences {
		*c.Licenses = append(*c.Licenses, cyclonedx.LicenseChoice{License: &cyclonedx.License{ID: name}})
	}
	if p.sum != "" {
		c.Properties = &[]cyclonedx.Property{{Name: "go.sum", Value: p.sum}}
	}
	return c
}
