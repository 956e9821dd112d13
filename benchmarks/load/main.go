// fhirload: a small closed-loop load generator for any FHIR R4 server. Go standard library only.
//
//	BASE_URL=http://127.0.0.1:8080/fhir go run . -seed-data -warmup 60s -clients 1,8,32 -duration 20s -out result.json
//
// TOKEN (optional) is sent as "Authorization: Bearer ...". Data and request order come from -seed alone.
// The seeded ids are kept in -state, so several runs can share one seeded server.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"runtime/pprof"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type state struct {
	Seed          uint64   `json:"seed"`
	Patients      []string `json:"patients"` // logical ids, in index order
	Practitioners []string `json:"practitioners"`
	Appointments  int      `json:"appointments"`
}

type request struct {
	method, path string
	body         []byte
	want         int // expected status; 0 = any 2xx
	search       bool
}

type cell struct {
	Op            string             `json:"op"`
	Clients       int                `json:"clients"`
	Seconds       float64            `json:"seconds"`
	Requests      int                `json:"requests"`
	Errors        int                `json:"errors"`
	Statuses      map[string]int     `json:"statuses"`
	PerSecond     float64            `json:"per_second"`
	P50           float64            `json:"p50_ms"`
	P95           float64            `json:"p95_ms"`
	P99           float64            `json:"p99_ms"`
	Max           float64            `json:"max_ms"`
	MeanEntries   float64            `json:"mean_entries,omitempty"`
	BytesIn       float64            `json:"mean_bytes_in"`
	GeneratorCPU  float64            `json:"generator_cpu_cores"`
	CPU           map[string]float64 `json:"cpu_cores,omitempty"`
	RSSMiB        map[string]float64 `json:"pss_mib,omitempty"`
	CPUPerRequest float64            `json:"cpu_ms_per_request,omitempty"` // all watched trees; steadier than req/s on a shared machine
	OtherCPU      float64            `json:"other_cpu_cores"`              // used by everything else on the machine
	FirstErrorMsg string             `json:"first_error,omitempty"`
}

var (
	base    = strings.TrimRight(os.Getenv("BASE_URL"), "/")
	token   = os.Getenv("TOKEN")
	prefer  = flag.String("prefer", "return=representation", "Prefer header on writes (empty: none)")
	seed    = flag.Uint64("seed", 42, "seed of all data and of the request order")
	nPat    = flag.Int("patients", 5000, "patients to seed")
	nPrac   = flag.Int("practitioners", 100, "practitioners to seed")
	nAppt   = flag.Int("appointments", 10000, "appointments to seed")
	nObs    = flag.Int("observations", 10000, "observations to seed")
	doSeed  = flag.Bool("seed-data", false, "create the base data first (transaction bundles of 100)")
	seedBy  = flag.String("seed-by", "transaction", "transaction | post (one POST per resource)")
	stateF  = flag.String("state", "state.json", "file with the ids of the seeded data")
	warm    = flag.Duration("warmup", 0, "mixed warm-up over all chosen ops (8 clients)")
	clientS = flag.String("clients", "1,8,32", "numbers of concurrent clients")
	dur     = flag.Duration("duration", 20*time.Second, "measured time of each cell")
	opsS    = flag.String("ops", "read,search_identifier,search_people,search_appointment,create,update,transaction100", "operations, in order")
	rate    = flag.Float64("rate", 0, "requests per second of all clients together, evenly spaced; latency counts from when a request was due (0: each client as fast as it can)")
	dumpF   = flag.String("dump", "", "write the base data as NDJSON with ids of its own to this file and its ids to -state, then stop")
	export  = flag.Duration("export", 0, "if set: run $export of everything and wait at most this long")
	watchS  = flag.String("watch", "", "name=pid[,name=pid...]: CPU and PSS of these process trees per cell")
	gzipOn  = flag.Bool("gzip", false, "send Accept-Encoding: gzip and unpack the answers")
	any2xx  = flag.Bool("any2xx", false, "accept any 2xx answer (for servers that answer a create with 200)")
	profF   = flag.String("cpuprofile", "", "write a CPU profile of the generator itself")
	outF    = flag.String("out", "", "write the results as JSON")
	client  *http.Client
	tag     = uint64(time.Now().Unix() % 100_000) // keeps created identifiers of different runs apart
)

func do(rq request) (status int, body []byte, hdr http.Header, err error) {
	var rd io.Reader
	if rq.body != nil {
		rd = bytes.NewReader(rq.body)
	}
	h, err := http.NewRequest(rq.method, base+rq.path, rd)
	if err != nil {
		return 0, nil, nil, err
	}
	h.Header.Set("Accept", "application/fhir+json")
	if rq.body != nil {
		h.Header.Set("Content-Type", "application/fhir+json")
		if *prefer != "" {
			h.Header.Set("Prefer", *prefer)
		}
	}
	if token != "" {
		h.Header.Set("Authorization", "Bearer "+token)
	}
	if *gzipOn {
		h.Header.Set("Accept-Encoding", "gzip")
	}
	resp, err := client.Do(h)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	var from io.Reader = resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if from, err = gzip.NewReader(resp.Body); err != nil {
			return 0, nil, nil, err
		}
	}
	body, err = io.ReadAll(from)
	return resp.StatusCode, body, resp.Header, err
}

func fatal(f string, a ...any) {
	fmt.Fprintf(os.Stderr, f+"\n", a...)
	os.Exit(1)
}

// idOf takes the logical id out of "Patient/12/_history/1" or an absolute form of it.
func idOf(location, typ string) string {
	parts := strings.Split(location, "/")
	for i := len(parts) - 2; i >= 0; i-- {
		if parts[i] == typ {
			return parts[i+1]
		}
	}
	return ""
}

// seedAll creates the base data and returns the ids.
func seedAll() *state {
	st := &state{Seed: *seed, Appointments: *nAppt}
	batch := func(n int, make func(i uint64) obj) []string {
		ids := make2(n)
		if *seedBy == "post" {
			par(n, 4, func(i int) {
				res := make(uint64(i))
				typ := res["resourceType"].(string)
				s, b, h, err := do(request{method: "POST", path: "/" + typ, body: enc(res)})
				if err != nil || s != 201 && !(*any2xx && s/100 == 2) {
					fatal("seed %s: %d %v %.300s", typ, s, err, b)
				}
				if ids[i] = idOf(h.Get("Location"), typ); ids[i] == "" {
					var made struct{ ID string }
					json.Unmarshal(b, &made)
					ids[i] = made.ID
				}
			})
			return ids
		}
		par((n+99)/100, 4, func(k int) {
			var e arr
			lo, hi := k*100, min(n, k*100+100)
			typ := ""
			for i := lo; i < hi; i++ {
				res := make(uint64(i))
				typ = res["resourceType"].(string)
				e = append(e, bundleEntry(uuidFor(*seed, 9, uint64(i)), res))
			}
			s, b, _, err := do(request{method: "POST", path: "", body: enc(obj{"resourceType": "Bundle", "type": "transaction", "entry": e})})
			if err != nil || s != 200 {
				fatal("seed bundle: %d %v %.600s", s, err, b)
			}
			var out struct {
				Entry []struct {
					Response struct{ Location string }
				}
			}
			if err := json.Unmarshal(b, &out); err != nil || len(out.Entry) != hi-lo {
				fatal("seed bundle answer: %v, %d entries", err, len(out.Entry))
			}
			for j, x := range out.Entry {
				ids[lo+j] = idOf(x.Response.Location, typ)
			}
		})
		return ids
	}
	t := time.Now()
	st.Practitioners = batch(*nPrac, func(i uint64) obj { return practitioner(*seed, i) })
	st.Patients = batch(*nPat, func(i uint64) obj { return patient(*seed, i, st.gp(i)) })
	batch(*nAppt, func(i uint64) obj {
		return appointment(*seed, i, "Patient/"+st.Patients[i%uint64(*nPat)], st.gp(i))
	})
	batch(*nObs, func(i uint64) obj {
		return observation(*seed, i, "Patient/"+st.Patients[i%uint64(*nPat)], st.gp(i))
	})
	total := *nPrac + *nPat + *nAppt + *nObs
	fmt.Printf("seeded %d resources in %.1f s (%.0f/s, by %s)\n", total, time.Since(t).Seconds(), float64(total)/time.Since(t).Seconds(), *seedBy)
	os.WriteFile(*stateF, enc(st), 0o644)
	return st
}

// dump writes the base data as NDJSON; the ids are pr-0, pt-0, ap-0, ob-0 and so on.
func dump(file string) {
	f, err := os.Create(file)
	if err != nil {
		fatal("%v", err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	st := &state{Seed: *seed, Appointments: *nAppt}
	put := func(id string, res obj) {
		res["id"] = id
		w.Write(append(enc(res), '\n'))
	}
	for i := 0; i < *nPrac; i++ {
		st.Practitioners = append(st.Practitioners, fmt.Sprintf("pr-%d", i))
		put(st.Practitioners[i], practitioner(*seed, uint64(i)))
	}
	for i := 0; i < *nPat; i++ {
		st.Patients = append(st.Patients, fmt.Sprintf("pt-%d", i))
		put(st.Patients[i], patient(*seed, uint64(i), st.gp(uint64(i))))
	}
	for i := 0; i < *nAppt; i++ {
		put(fmt.Sprintf("ap-%d", i), appointment(*seed, uint64(i), "Patient/"+st.Patients[i%*nPat], st.gp(uint64(i))))
	}
	for i := 0; i < *nObs; i++ {
		put(fmt.Sprintf("ob-%d", i), observation(*seed, uint64(i), "Patient/"+st.Patients[i%*nPat], st.gp(uint64(i))))
	}
	if w.Flush() != nil || f.Close() != nil || os.WriteFile(*stateF, enc(st), 0o644) != nil {
		fatal("cannot write %s or %s", file, *stateF)
	}
}

func make2(n int) []string { return make([]string, n) }

func (st *state) gp(i uint64) string {
	return "Practitioner/" + st.Practitioners[i%uint64(len(st.Practitioners))]
}

func par(n, workers int, f func(int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for w := 0; w < workers; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i)
			}
		}()
	}
	wg.Wait()
}

var created atomic.Uint64 // counter of created things of this process

func build(op string, st *state, r *rand.Rand, worker, clients int) request {
	n := uint64(len(st.Patients))
	switch op {
	case "read":
		return request{method: "GET", path: "/Patient/" + st.Patients[r.Uint64N(n)], want: 200}
	case "search_identifier":
		i := r.Uint64N(n)
		p := personOf(st.Seed, i, rngFor(st.Seed, 1, i))
		return request{method: "GET", path: "/Patient?identifier=" + url.QueryEscape(sysMRN+"|"+p.mrn), want: 200, search: true}
	case "search_people":
		y := 1932 + r.IntN(70)
		return request{method: "GET", search: true, want: 200, path: fmt.Sprintf("/Patient?name=%s&gender=%s&birthdate=ge%d-01-01&birthdate=le%d-12-31&_count=20",
			strings.ToLower(families[r.IntN(len(families))][:3]), []string{"male", "female"}[r.IntN(2)], y, y+20)}
	case "search_appointment":
		m := 1 + r.IntN(6)
		return request{method: "GET", search: true, want: 200, path: fmt.Sprintf("/Appointment?patient=Patient/%s&date=ge2026-%02d-01&date=le2026-%02d-28&status=booked&_count=20",
			st.Patients[r.Uint64N(n)], m, m+6)}
	case "create":
		i := (tag+10)*10_000_000 + created.Add(1)
		return request{method: "POST", path: "/Patient", body: enc(patient(st.Seed, i, st.gp(i))), want: 201}
	case "update":
		// each worker owns the patients of its residue class: no two clients write one resource at once
		i := (r.Uint64N(n/uint64(clients)))*uint64(clients) + uint64(worker)
		p := patient(st.Seed, i, st.gp(i))
		p["id"] = st.Patients[i]
		p["telecom"] = append(p["telecom"].(arr), obj{"system": "sms", "value": fmt.Sprintf("+1-555-%d-%d", tag, created.Add(1))})
		return request{method: "PUT", path: "/Patient/" + st.Patients[i], body: enc(p), want: 200}
	case "transaction100":
		return request{method: "POST", path: "", body: mixedBundle(st.Seed, tag*100_000+created.Add(1)), want: 200}
	}
	if search, known := searches[op]; known {
		return request{method: "GET", path: search(st, r), want: 200, search: true}
	}
	fatal("unknown op %q", op)
	return request{}
}

// runCell drives one operation with a number of closed-loop clients.
func runCell(op string, st *state, clients int, d time.Duration, watch map[string]int) cell {
	ops := strings.Split(op, "+")
	type res struct {
		lat      []float64
		status   map[string]int
		errs     int
		entries  int
		searches int
		in       int
		firstErr string
	}
	out := make([]res, clients)
	c0, m0 := cpuOf(watch), machineBusy()
	var ru0, ru1 syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru0)
	start := time.Now()
	end := start.Add(d)
	var wg sync.WaitGroup
	for w := 0; w < clients; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			o := &out[w]
			o.status = map[string]int{}
			r := rngFor(*seed, uint64(1000+clients), uint64(w)+uint64(len(op))<<20)
			due, every := start, time.Duration(0)
			if *rate > 0 {
				every = time.Duration(float64(clients) / *rate * float64(time.Second))
				due = start.Add(time.Duration(r.Int64N(int64(every))))
			}
			for k := 0; time.Now().Before(end); k++ {
				rq := build(ops[k%len(ops)], st, r, w, clients)
				t := time.Now()
				if every > 0 {
					if due.After(end) {
						return
					}
					time.Sleep(due.Sub(t))
					t, due = due, due.Add(every)
				}
				s, b, _, err := do(rq)
				o.lat = append(o.lat, float64(time.Since(t).Microseconds())/1000)
				o.in += len(b)
				key := strconv.Itoa(s)
				ok := err == nil && (s == rq.want || *any2xx && s/100 == 2)
				if err != nil {
					key = "transport"
				}
				o.status[key]++
				if !ok {
					o.errs++
					if o.firstErr == "" {
						o.firstErr = fmt.Sprintf("%s %s: %d %v %.300s", rq.method, rq.path, s, err, b)
					}
				} else if rq.search {
					o.searches++
					o.entries += bytes.Count(b, []byte(`"fullUrl"`))
				}
			}
		}()
	}
	wg.Wait()
	el := time.Since(start).Seconds()
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru1)
	c1, m1 := cpuOf(watch), machineBusy()
	c := cell{Op: op, Clients: clients, Seconds: el, Statuses: map[string]int{}, CPU: map[string]float64{}, RSSMiB: map[string]float64{}}
	var lat []float64
	in, entries, searches := 0, 0, 0
	for _, o := range out {
		lat = append(lat, o.lat...)
		c.Errors += o.errs
		in += o.in
		entries += o.entries
		searches += o.searches
		for k, v := range o.status {
			c.Statuses[k] += v
		}
		if c.FirstErrorMsg == "" {
			c.FirstErrorMsg = o.firstErr
		}
	}
	sort.Float64s(lat)
	c.Requests = len(lat)
	c.PerSecond = float64(c.Requests-c.Errors) / el
	pick := func(q float64) float64 {
		if len(lat) == 0 {
			return 0
		}
		return lat[min(len(lat)-1, int(q*float64(len(lat))))]
	}
	c.P50, c.P95, c.P99, c.Max = pick(.50), pick(.95), pick(.99), pick(1)
	if c.Requests > 0 {
		c.BytesIn = float64(in) / float64(c.Requests)
	}
	if searches > 0 {
		c.MeanEntries = float64(entries) / float64(searches)
	}
	tv := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	c.GeneratorCPU = (tv(ru1.Utime) + tv(ru1.Stime) - tv(ru0.Utime) - tv(ru0.Stime)) / el
	c.OtherCPU = (m1-m0)/el - c.GeneratorCPU
	for k, pid := range watch {
		c.CPU[k] = (c1[k] - c0[k]) / el
		c.RSSMiB[k] = pssOf(pid)
		c.OtherCPU -= c.CPU[k]
		c.CPUPerRequest += 1000 * (c1[k] - c0[k]) / float64(max(1, c.Requests))
	}
	return c
}

// machineBusy: CPU seconds used on the whole machine since boot.
func machineBusy() float64 {
	b, _ := os.ReadFile("/proc/stat")
	f := strings.Fields(strings.SplitN(string(b), "\n", 2)[0])
	t := 0.0
	for i, s := range f {
		if i >= 1 && i <= 8 && i != 4 && i != 5 { // without idle and iowait
			v, _ := strconv.ParseFloat(s, 64)
			t += v / 100
		}
	}
	return t
}

// tree lists pid and its descendants.
func tree(pid int) []int {
	kids := map[int][]int{}
	ds, _ := os.ReadDir("/proc")
	for _, d := range ds {
		p, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if f := statFields(p); len(f) > 1 {
			pp, _ := strconv.Atoi(f[1])
			kids[pp] = append(kids[pp], p)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, kids[all[i]]...)
	}
	return all
}

func statFields(p int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// cpuOf: CPU seconds (100 ticks a second) of each watched tree; the children a process has reaped count too.
func cpuOf(w map[string]int) map[string]float64 {
	m := map[string]float64{}
	for k, pid := range w {
		for _, p := range tree(pid) {
			if f := statFields(p); len(f) > 14 {
				for _, i := range []int{11, 12, 13, 14} {
					v, _ := strconv.ParseFloat(f[i], 64)
					m[k] += v / 100
				}
			}
		}
	}
	return m
}

// pssOf: proportional set size of a tree in MiB (shared memory is divided, so trees add up).
func pssOf(pid int) float64 {
	t := 0.0
	for _, p := range tree(pid) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		for _, l := range strings.Split(string(b), "\n") {
			if strings.HasPrefix(l, "Pss:") {
				v, _ := strconv.ParseFloat(strings.Fields(l)[1], 64)
				t += v / 1024
			}
		}
	}
	return t
}

func runExport(limit time.Duration) obj {
	t := time.Now()
	h, _ := http.NewRequest("GET", base+"/$export", nil)
	h.Header.Set("Accept", "application/fhir+json")
	h.Header.Set("Prefer", "respond-async")
	get := func(u string) (*http.Response, []byte) {
		rq, _ := http.NewRequest("GET", u, nil)
		if token != "" {
			rq.Header.Set("Authorization", "Bearer "+token)
		}
		r, err := client.Do(rq)
		if err != nil {
			fatal("export: %v", err)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		return r, b
	}
	if token != "" {
		h.Header.Set("Authorization", "Bearer "+token)
	}
	r, err := client.Do(h)
	if err != nil {
		fatal("export: %v", err)
	}
	b, _ := io.ReadAll(r.Body)
	r.Body.Close()
	if r.StatusCode != 202 {
		return obj{"error": fmt.Sprintf("kick-off answered %d %.300s", r.StatusCode, b)}
	}
	loc := r.Header.Get("Content-Location")
	for time.Since(t) < limit {
		time.Sleep(500 * time.Millisecond)
		r, b := get(loc)
		if r.StatusCode == 202 || r.StatusCode == 429 {
			continue
		}
		if r.StatusCode != 200 {
			return obj{"error": fmt.Sprintf("status answered %d %.300s", r.StatusCode, b)}
		}
		done := time.Since(t).Seconds()
		var m struct {
			Output []struct{ Type, URL string }
		}
		json.Unmarshal(b, &m)
		lines, size, kinds := 0, 0, map[string]int{}
		for _, o := range m.Output {
			rq, _ := http.NewRequest("GET", o.URL, nil)
			rq.Header.Set("Accept", "application/fhir+ndjson")
			if token != "" {
				rq.Header.Set("Authorization", "Bearer "+token)
			}
			r, err := client.Do(rq)
			if err != nil {
				fatal("export file: %v", err)
			}
			b, _ := io.ReadAll(r.Body)
			r.Body.Close()
			if bytes.HasPrefix(b, []byte(`{"resourceType":"Binary"`)) { // answered as a Binary resource
				var bin struct{ Data []byte }
				json.Unmarshal(b, &bin)
				b = bin.Data
			}
			n := bytes.Count(bytes.TrimSpace(b), []byte("\n")) + 1
			lines += n
			kinds[o.Type] += n
			size += len(b)
		}
		return obj{"complete_s": done, "with_download_s": time.Since(t).Seconds(), "files": len(m.Output), "resources": lines, "mib": float64(size) / 1048576, "by_type": kinds}
	}
	return obj{"error": fmt.Sprintf("not complete after %v", limit)}
}

func main() {
	flag.Parse()
	if *profF != "" {
		f, err := os.Create(*profF)
		if err != nil {
			fatal("%v", err)
		}
		pprof.StartCPUProfile(f)
		defer pprof.StopCPUProfile()
	}
	if *dumpF != "" {
		dump(*dumpF)
		return
	}
	if base == "" {
		fatal("set BASE_URL")
	}
	var counts []int
	maxC := 8
	for _, s := range strings.Split(*clientS, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			fatal("bad -clients")
		}
		counts = append(counts, n)
		maxC = max(maxC, n)
	}
	client = &http.Client{Timeout: 120 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: maxC, MaxConnsPerHost: maxC, DisableCompression: true, IdleConnTimeout: 60 * time.Second}}
	watch := map[string]int{}
	for _, s := range strings.Split(*watchS, ",") {
		if k, v, ok := strings.Cut(s, "="); ok {
			watch[k], _ = strconv.Atoi(v)
		}
	}
	var st *state
	if *doSeed {
		st = seedAll()
	} else {
		b, err := os.ReadFile(*stateF)
		if err != nil {
			fatal("%v (run once with -seed-data)", err)
		}
		st = &state{}
		if err := json.Unmarshal(b, st); err != nil {
			fatal("%v", err)
		}
	}
	names := []string{}
	if *opsS != "" {
		names = strings.Split(*opsS, ",")
	}
	sample := enc(patient(*seed, 1, st.gp(1)))
	report := obj{"base": base, "seed": *seed, "patients": len(st.Patients), "appointments": st.Appointments, "prefer": *prefer, "gzip": *gzipOn,
		"patient_bytes": len(sample), "bundle_bytes": len(mixedBundle(*seed, 1)), "started": time.Now().UTC().Format(time.RFC3339)}
	if *warm > 0 && len(names) > 0 {
		c := runCell(strings.Join(names, "+"), st, 8, *warm, nil)
		fmt.Printf("warm-up %.0f s: %d requests, %d errors %s\n", c.Seconds, c.Requests, c.Errors, c.FirstErrorMsg)
	}
	fmt.Printf("| operation | clients | req/s | p50 ms | p95 ms | p99 ms | errors | entries | CPU ms/req | cores (PSS) | generator cores | other cores |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|\n")
	var cells []cell
	for _, op := range names {
		for _, n := range counts {
			runCell(op, st, n, 2*time.Second, nil)
			c := runCell(op, st, n, *dur, watch)
			cells = append(cells, c)
			cpu := []string{}
			for k, v := range c.CPU {
				cpu = append(cpu, fmt.Sprintf("%s %.2f (%.0f MiB)", k, v, c.RSSMiB[k]))
			}
			sort.Strings(cpu)
			fmt.Printf("| %s | %d | %.1f | %.1f | %.1f | %.1f | %d | %.2f | %.1f | %s | %.2f | %.2f |\n", op, n, c.PerSecond, c.P50, c.P95, c.P99, c.Errors, c.MeanEntries, c.CPUPerRequest, strings.Join(cpu, ", "), c.GeneratorCPU, c.OtherCPU)
			if c.Errors > 0 {
				fmt.Printf("    first error: %s\n", c.FirstErrorMsg)
			}
		}
	}
	report["cells"] = cells
	if *export > 0 {
		x := runExport(*export)
		report["export"] = x
		fmt.Printf("$export: %s\n", enc(x))
	}
	if *outF != "" {
		b, _ := json.MarshalIndent(report, "", " ")
		os.WriteFile(*outF, b, 0o644)
	}
}
