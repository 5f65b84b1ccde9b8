package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"time"
)

// A file is one in an archive.
type file struct {
	name string
	mode int64
	data []byte
}

// pages go into each archive as they are.
var pages = []string{"LICENSE", "README.md", "CHANGELOG.md"}

// writeArchive makes a .zip for Windows and a .tar.gz for others. Nothing in it is of the
// machine or the moment: names, modes and the commit's time, in one order.
func writeArchive(source, dir string, p *program, parts []part) error {
	text, err := os.ReadFile(p.path)
	if err != nil {
		return err
	}
	files := []file{{filepath.Base(p.path), 0o755, text}}
	for _, name := range pages {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return err
		}
		files = append(files, file{name, 0o644, text})
	}
	files = append(files, file{"THIRD_PARTY_LICENSES.txt", 0o644, notices(parts)})
	write, extension := writeTar, ".tar.gz"
	if p.os == "windows" {
		write, extension = writeZip, ".zip"
	}
	out, err := os.Create(filepath.Join(dir, p.name()+extension))
	if err != nil {
		return err
	}
	if err := write(out, p.name(), p.time, files); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

func writeTar(w io.Writer, folder string, at time.Time, files []file) error {
	gz, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(gz)
	for _, f := range files {
		h := &tar.Header{Name: folder + "/" + f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: at, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(f.data); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return gz.Close()
}

func writeZip(w io.Writer, folder string, at time.Time, files []file) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		h := &zip.FileHeader{Name: folder + "/" + f.name, Method: zip.Deflate, Modified: at.UTC()}
		h.SetMode(os.FileMode(f.mode))
		part, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := part.Write(f.data); err != nil {
			return err
		}
	}
	return z.Close()
}
