// Reads an archive with Go's own gzip and tar, as Velero's and most Kubernetes tools do, and prints each file's digest.
// It unpacks nothing.
package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := list(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func list(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	reader := tar.NewReader(unzipped)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		switch header.Typeflag {
		case tar.TypeDir:
		case tar.TypeReg:
			sum := sha256.New()
			if _, err := io.Copy(sum, reader); err != nil {
				return err
			}
			fmt.Printf("%x  %s\n", sum.Sum(nil), header.Name)
		default:
			return fmt.Errorf("%s has type %q", header.Name, header.Typeflag)
		}
	}
	_, err = io.Copy(io.Discard, unzipped)
	return err
}
