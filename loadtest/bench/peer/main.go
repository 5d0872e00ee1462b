// A service with the same tables, rules and answers as ours, as one would write it by hand in Go:
// net/http and gocql, one UNLOGGED batch per request. It stores batches and answers the first page of
// a player's sessions, and nothing else. `python -m loadtest.bench` measures it.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gocql/gocql"
	"github.com/twmb/murmur3"
)

const (
	retention        = 365 * 24 * time.Hour
	countryRetention = 168 * time.Hour
	countryShards    = 8
	tolerance        = 5 * time.Minute
	limit            = 20
	extraEnds        = 4 // the first query asks for so many more, for ends without a start
	maxBody          = 64 << 10
	inTime           = "2006-01-02T15:04:05.999999999"
	outTime          = "2006-01-02T15:04:05.000Z"

	insertStart = "INSERT INTO session_starts (player_id, session_id, started_at, country, latest)" +
		" VALUES (?, ?, ?, ?, (?, ?, ?)) USING TTL ? AND TIMESTAMP ?"
	insertStartsOfHour = "INSERT INTO starts_by_hour (hour, shard, group_commit, start_keys)" +
		" VALUES (?, ?, ?, ?) USING TTL ?"
	insertEnd = "INSERT INTO session_ends (player_id, ended_at, session_id)" +
		" VALUES (?, ?, ?) USING TTL ? AND TIMESTAMP ?"
	selectEnds = "SELECT ended_at, session_id FROM session_ends" +
		" WHERE player_id = ? AND (ended_at) > (?) LIMIT ?"
	selectNextEnds = "SELECT ended_at, session_id FROM session_ends" +
		" WHERE player_id = ? AND (ended_at) > (?) AND (ended_at, session_id) < (?, ?) LIMIT ?"
	selectStarts = "SELECT session_id, started_at, country FROM session_starts" +
		" WHERE player_id = ? AND session_id IN ?"
)

var country = regexp.MustCompile("^[A-Z]{2}$")

type event struct {
	Player  string `json:"player_id"`
	Event   string `json:"event"`
	Session string `json:"session_id"`
	TS      string `json:"ts"`
	Country string `json:"country"`
}

type session struct {
	ID       string  `json:"session_id"`
	Country  string  `json:"country"`
	Started  string  `json:"started_at"`
	Ended    string  `json:"ended_at"`
	Duration float64 `json:"duration_seconds"`
}

type page struct {
	Player   string    `json:"player_id"`
	Sessions []session `json:"sessions"`
	Cursor   *string   `json:"next_cursor"`
}

// The starts of an hour in one request: their keys, and the TTL of the newest.
type hourRow struct {
	keys []byte
	ttl  int
}

type service struct{ cassandra *gocql.Session }

func (s service) ingest(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Events []event `json:"events"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&body); err != nil {
		problem(w, http.StatusBadRequest, err)
		return
	}
	if len(body.Events) < 1 || len(body.Events) > 10 {
		problem(w, http.StatusUnprocessableEntity, errors.New("a batch has 1-10 events"))
		return
	}
	batch, now := s.cassandra.NewBatch(gocql.UnloggedBatch).WithContext(r.Context()), time.Now()
	accepted, hours := 0, map[time.Time]hourRow{}
	for _, each := range body.Events {
		kept, err := add(batch, hours, each, now)
		if err != nil {
			problem(w, http.StatusUnprocessableEntity, err)
			return
		}
		if kept {
			accepted++
		}
	}
	for hour, row := range hours {
		id := gocql.MustRandomUUID()
		batch.Query(insertStartsOfHour, hour, id[0]%countryShards, id, row.keys, row.ttl)
	}
	if batch.Size() > 0 {
		if err := s.cassandra.ExecuteBatch(batch); err != nil {
			problem(w, http.StatusServiceUnavailable, err)
			return
		}
	}
	answer(w, map[string]int{"accepted": accepted, "discarded": len(body.Events) - accepted})
}

// add checks an event and adds its row, unless the event is older than the retention; the key of a
// start it adds to those of its hour.
func add(batch *gocql.Batch, hours map[time.Time]hourRow, e event, now time.Time) (kept bool, err error) {
	player, err := gocql.ParseUUID(e.Player)
	if err != nil {
		return false, err
	}
	id, err := gocql.ParseUUID(e.Session)
	if err != nil {
		return false, err
	}
	at, err := time.Parse(time.RFC3339Nano, e.TS)
	if err != nil {
		if at, err = time.Parse(inTime, e.TS); err != nil {
			return false, err
		}
	}
	if e.Country != "" && !country.MatchString(e.Country) || e.Country == "" && e.Event == "start" {
		return false, errors.New("country must be two capital letters")
	}
	if at = at.UTC().Truncate(time.Millisecond); at.After(now.Add(tolerance)) {
		return false, errors.New("ts lies in the future")
	}
	ttl, kept := secondsUntil(at.Add(retention), now)
	switch {
	case e.Event != "start" && e.Event != "end":
		return false, errors.New("event must be start or end")
	case !kept:
		return false, nil
	case e.Event == "end":
		batch.Query(insertEnd, player, at, id, ttl, at.UnixMicro())
		return true, nil
	}
	// The microseconds name the country, so that two starts that differ never tie.
	number := uint64(e.Country[0]-'A')*26 + uint64(e.Country[1]-'A')
	batch.Query(insertStart, player, id, at, e.Country, at, id, e.Country, ttl, at.UnixMicro()+int64(number))
	if ttl, kept := secondsUntil(at.Add(countryRetention), now); kept {
		key := murmur3.Sum64(append(player.Bytes(), id[:]...))<<10 | number
		hour := at.Truncate(time.Hour)
		row := hours[hour]
		hours[hour] = hourRow{binary.BigEndian.AppendUint64(row.keys, key), max(row.ttl, ttl)}
	}
	return true, nil
}

// secondsUntil returns a row's TTL, and whether its time is not over yet.
func secondsUntil(expires, now time.Time) (int, bool) {
	return int((expires.UnixMilli()+999)/1000 - now.Unix()), expires.After(now)
}

type end struct {
	at time.Time
	id gocql.UUID
}

type start struct {
	at      time.Time
	country string
}

func (s service) sessions(w http.ResponseWriter, r *http.Request) {
	player, err := gocql.ParseUUID(r.PathValue("player"))
	if err != nil {
		problem(w, http.StatusBadRequest, err)
		return
	}
	found, oldest := page{Player: hex.EncodeToString(player[:]), Sessions: []session{}}, time.Now().Add(-retention)
	met, count := map[gocql.UUID]bool{}, limit+extraEnds
	query := s.cassandra.Query(selectEnds, player, oldest, count)
	var last end
	for {
		ends, starts, err := s.pair(query.WithContext(r.Context()), player, met)
		if err != nil {
			problem(w, http.StatusServiceUnavailable, err)
			return
		}
		for _, e := range ends {
			begun, ok := starts[e.id]
			if len(found.Sessions) == limit {
				break
			}
			last = e
			if met[e.id] {
				continue
			}
			met[e.id] = true
			if ok && begun.at.After(oldest) {
				lasted := max(0, e.at.Sub(begun.at)).Seconds()
				found.Sessions = append(found.Sessions, session{e.id.String(), begun.country,
					begun.at.UTC().Format(outTime), e.at.UTC().Format(outTime), lasted})
			}
		}
		if len(ends) < count && (len(ends) == 0 || last == ends[len(ends)-1]) {
			break
		}
		if len(found.Sessions) == limit {
			found.Cursor = cursor(last)
			break
		}
		count = 100
		query = s.cassandra.Query(selectNextEnds, player, oldest, last.at, last.id, count)
	}
	answer(w, found)
}

// pair returns the ends of a query, and the starts of their sessions that are not met yet.
func (s service) pair(query *gocql.Query, player gocql.UUID, met map[gocql.UUID]bool) ([]end, map[gocql.UUID]start, error) {
	var ends []end
	var ids []gocql.UUID
	var one end
	rows := query.Iter()
	for rows.Scan(&one.at, &one.id) {
		ends = append(ends, one)
		if !met[one.id] {
			ids = append(ids, one.id)
		}
	}
	if err := rows.Close(); err != nil || len(ids) == 0 {
		return ends, nil, err
	}
	starts := make(map[gocql.UUID]start, len(ids))
	var id gocql.UUID
	var begun start
	rows = s.cassandra.Query(selectStarts, player, ids).WithContext(query.Context()).Iter()
	for rows.Scan(&id, &begun.at, &begun.country) {
		starts[id] = begun
	}
	return ends, starts, rows.Close()
}

// cursor names the end at which a page ended. The bench asks for first pages only, so no handler
// here takes a cursor.
func cursor(e end) *string {
	raw := append(binary.BigEndian.AppendUint64([]byte{1}, uint64(e.at.UnixMilli())), e.id[:]...)
	text := base64.RawURLEncoding.EncodeToString(raw)
	return &text
}

func answer(w http.ResponseWriter, document any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document)
}

func problem(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/problem+json")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "detail": err.Error()})
}

func main() {
	setting := func(name string) string { return os.Getenv("PLAYER_SESSIONS_" + name) }
	cluster := gocql.NewCluster(strings.Split(setting("CASSANDRA_CONTACT_POINTS"), ",")...)
	port, err := strconv.Atoi(setting("CASSANDRA_PORT"))
	if err != nil {
		log.Fatal(err)
	}
	cluster.Port, cluster.Keyspace, cluster.Consistency = port, setting("KEYSPACE"), gocql.LocalQuorum
	cluster.PoolConfig.HostSelectionPolicy = gocql.TokenAwareHostPolicy(gocql.RoundRobinHostPolicy())
	if name := setting("CASSANDRA_USERNAME"); name != "" {
		login := gocql.PasswordAuthenticator{Username: name, Password: setting("CASSANDRA_PASSWORD")}
		cluster.Authenticator = login
	}
	connected, err := cluster.CreateSession()
	if err != nil {
		log.Fatal(err)
	}
	s := service{connected}
	http.HandleFunc("POST /v1/events", s.ingest)
	http.HandleFunc("GET /v1/players/{player}/sessions", s.sessions)
	http.HandleFunc("GET /health/ready", func(http.ResponseWriter, *http.Request) {})
	log.Fatal(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%s", setting("HTTP_PORT")), nil))
}
