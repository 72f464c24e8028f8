// SPDX-License-Identifier: MIT

// A region from Go: open the file, map it.
package main

import (
	"fmt"
	"log"
	"os"
	"syscall"
)

const name = "example-go"

func main() {
	mount := os.Getenv("IOMEMFS")
	if mount == "" {
		mount = "/mnt/mem"
	}
	command := []byte(name + " 4096\n")
	create, err := os.OpenFile(mount+"/.ctl/create", os.O_WRONLY, 0)
	if err != nil {
		log.Fatal(err)
	}
	if _, err = create.Write(command); err != nil {
		log.Fatal(err)
	}
	create.Close()
	defer os.Remove(mount + "/" + name)

	file, err := os.OpenFile(mount+"/"+name, os.O_RDWR, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	memory, err := syscall.Mmap(int(file.Fd()), 0, 4096,
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		log.Fatal(err)
	}
	copy(memory, "hello from Go")

	again := make([]byte, 13)
	if _, err = file.ReadAt(again, 0); err != nil {
		log.Fatal(err)
	}
	fmt.Println("read(2) sees:", string(again))
	syscall.Munmap(memory)
}
