// franz-go against the broker: named checks, run side by side, one line of result each.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	deadline = 30 * time.Second // of a single check; a whole client is held to a minute by run.sh
	workers  = 8                // checks at once: groups mostly wait
)

var (
	bootstrap = flag.String("bootstrap", os.Getenv("BOOTSTRAP"), "HOST:PORT of the broker")
	only      = flag.String("check", "", "run this check only")
	admin     *kadm.Client
)

type check struct {
	name string
	run  func(context.Context)
}

// failure is what a check panics with when the broker is wrong; it ends only that check.
type failure string

func fail(format string, arguments ...any) { panic(failure(fmt.Sprintf(format, arguments...))) }

func must[T any](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func expect(what string, got, want any) {
	if !reflect.DeepEqual(got, want) {
		fail("%s: got %.600s, want %.600s", what, fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want))
	}
}

func waitFor(ctx context.Context, what string, condition func() bool) {
	for !condition() {
		select {
		case <-ctx.Done():
			fail("timed out waiting for %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func unique(prefix string) string {
	random := make([]byte, 6)
	rand.Read(random)
	return "franz-go-" + prefix + "-" + hex.EncodeToString(random)
}

func client(options ...kgo.Opt) *kgo.Client {
	return must(kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(*bootstrap), kgo.ClientID("interop-franz-go")}, options...)...))
}

func runOne(c check) (ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	defer func() {
		if caught := recover(); caught != nil {
			fmt.Printf("FAILED %s: %s\n", c.name, strings.Join(strings.Fields(fmt.Sprint(caught)), " "))
			ok = false
		}
	}()
	c.run(ctx)
	fmt.Println("ok", c.name)
	return true
}

func main() {
	flag.Parse()
	if *bootstrap == "" {
		fmt.Fprintln(os.Stderr, "--bootstrap HOST:PORT is missing")
		os.Exit(2)
	}
	admin = kadm.NewClient(client())
	queue := make(chan check)
	var failed atomic.Bool
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for c := range queue {
				if !runOne(c) {
					failed.Store(true)
				}
			}
		})
	}
	for _, c := range checks() {
		if *only == "" || *only == c.name {
			queue <- c
		}
	}
	close(queue)
	running.Wait()
	if failed.Load() {
		os.Exit(1)
	}
}
