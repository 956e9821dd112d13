package main

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
)

// searches are the operations beside the core ones: what a search asks for, with values drawn from the data set.
var searches = map[string]func(st *state, r *rand.Rand) string{
	"chain": func(st *state, r *rand.Rand) string {
		return "/Appointment?patient.identifier=" + st.someMRN(r)
	},
	"chain_name": func(st *state, r *rand.Rand) string {
		m := 1 + r.IntN(11)
		return fmt.Sprintf("/Appointment?patient.family=%s&date=ge2026-%02d-01&date=lt2026-%02d-01&_count=20", someFamily(r), m, m+1)
	},
	"include": func(st *state, r *rand.Rand) string {
		return fmt.Sprintf("/Appointment?date=%s&_include=Appointment:patient&_count=20", some2026(r))
	},
	"revinclude": func(st *state, r *rand.Rand) string {
		return "/Patient?identifier=" + st.someMRN(r) + "&_revinclude=Appointment:patient"
	},
	"has": func(st *state, r *rand.Rand) string {
		y, m := 1935+r.IntN(80), 1+r.IntN(11)
		return fmt.Sprintf("/Patient?_has:Appointment:patient:status=booked&birthdate=ge%d-%02d-01&birthdate=lt%d-%02d-01&_count=20", y, m, y, m+1)
	},
	"has_all": func(st *state, r *rand.Rand) string {
		return "/Patient?_has:Appointment:patient:status=" + apptStatus[r.IntN(len(apptStatus))] + "&_count=20"
	},
	"has_observation": func(st *state, r *rand.Rand) string {
		return "/Patient?_has:Observation:patient:code=" + someCode(r) + "&gender=female&_count=20"
	},
	"frequent_name": func(st *state, r *rand.Rand) string {
		return "/Patient?name=" + strings.ToLower(someFamily(r)[:2]) + "&gender=male&_count=20"
	},
	"contains": func(st *state, r *rand.Rand) string {
		f := strings.ToLower(someFamily(r))
		return "/Patient?family:contains=" + f[1:min(len(f), 5)] + "&_count=20"
	},
	"date_newest": func(st *state, r *rand.Rand) string {
		return fmt.Sprintf("/Appointment?date=ge2026-%02d-01&_sort=-date&_count=20", 1+r.IntN(12))
	},
	"sort_name": func(st *state, r *rand.Rand) string {
		return "/Patient?_sort=family&_count=20"
	},
	"total": func(st *state, r *rand.Rand) string {
		return "/Appointment?status=" + apptStatus[r.IntN(len(apptStatus))] + "&_total=accurate&_count=20"
	},
	"total_most": func(st *state, r *rand.Rand) string {
		return "/Observation?status=final&_total=accurate&_count=20"
	},
	"code_date": func(st *state, r *rand.Rand) string {
		y := 2016 + r.IntN(10)
		return fmt.Sprintf("/Observation?code=%s&date=ge%d-01-01&date=lt%d-01-01&_count=20", someCode(r), y, y+1)
	},
	"patient_code": func(st *state, r *rand.Rand) string {
		return "/Observation?patient=Patient/" + st.somePatient(r) + "&code=" + someCode(r) + "&_sort=-date"
	},
	"text": func(st *state, r *rand.Rand) string {
		return "/Observation?code:text=" + strings.ToLower(strings.Fields(measures[r.IntN(len(measures))].display)[0]) + "&_count=20"
	},
	"quantity": func(st *state, r *rand.Rand) string {
		k := measures[r.IntN(len(measures))]
		value := url.QueryEscape(fmt.Sprintf("gt%.1f|http://unitsofmeasure.org|%s", k.low+k.span*0.9, k.unit))
		return "/Observation?code=" + url.QueryEscape(loinc+"|"+k.code) + "&value-quantity=" + value + "&_count=20"
	},
	"composite": func(st *state, r *rand.Rand) string {
		return "/Observation?component-code-value-quantity=" + url.QueryEscape(fmt.Sprintf("%s|8480-6$gt%d", loinc, 150+r.IntN(35))) + "&_count=20"
	},
	"combo": func(st *state, r *rand.Rand) string {
		k := measures[r.IntN(len(measures))]
		return "/Observation?combo-code-value-quantity=" + url.QueryEscape(fmt.Sprintf("%s|%s$gt%.1f", loinc, k.code, k.low+k.span*0.95)) + "&_count=20"
	},
	"filter": func(st *state, r *rand.Rand) string {
		y := 1935 + r.IntN(70)
		text := fmt.Sprintf(`family eq "%s" and (birthdate ge %d-01-01 and birthdate lt %d-01-01) and gender eq female`, someFamily(r), y, y+5)
		return "/Patient?_filter=" + url.QueryEscape(text) + "&_count=20"
	},
	"types": func(st *state, r *rand.Rand) string {
		return "?_type=Appointment,Observation&patient=Patient/" + st.somePatient(r) + "&_count=20"
	},
	"everything": func(st *state, r *rand.Rand) string {
		return "/Patient/" + st.somePatient(r) + "/*?_count=20"
	},
}

func (st *state) somePatient(r *rand.Rand) string {
	return st.Patients[r.IntN(len(st.Patients))]
}

func (st *state) someMRN(r *rand.Rand) string {
	i := r.Uint64N(uint64(len(st.Patients)))
	return url.QueryEscape(sysMRN + "|" + personOf(st.Seed, i, rngFor(st.Seed, 1, i)).mrn)
}

func someFamily(r *rand.Rand) string { return families[r.IntN(len(families))] }

func someCode(r *rand.Rand) string { return measures[r.IntN(len(measures))].code }

func some2026(r *rand.Rand) string { return fmt.Sprintf("2026-%02d-%02d", 1+r.IntN(12), 1+r.IntN(28)) }
