// What a handshake goes by: clients, types, the key of contacts, and limits.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

const (
	sms   = "sms"
	email = "email"

	blockDigits = 4 // numbers that differ in these only are watched together
)

// described is an installation as its file describes it. Windows are pairs of a count and seconds;
// starts and calls are those that our server has been charged with.
type described struct {
	Scope    string
	Clients  []client
	Types    map[string]challengeType
	IndexKey string `json:"index_key"`
	Windows  struct {
		Contact, Tenant, Everybody, Prefix, Calls [][2]int64
	}
	Starts []struct {
		Tenant, Type, Index string
		AtMs                int64 `json:"at_ms"`
	}
	Calls []struct {
		ClientID string `json:"client_id"`
		AtMs     int64  `json:"at_ms"`
	}
}

// client is who holds the token of this digest.
type client struct {
	SHA256      string
	Tenant      string
	ClientID    string `json:"client_id"`
	Scopes      []string
	ExpiresAtMs int64 `json:"expires_at_ms"`
}

// challengeType has the channels that its codes may take, the first one first.
type challengeType struct {
	Routes      []string
	AvailableIn int `json:"available_in"`
}

// contactKey is what starts for a contact are counted by.
type contactKey struct {
	tenant, kind string
	index        [sha256.Size]byte
}

// blockKey is what SMS for numbers of one block are counted by.
type blockKey struct{ tenant, block string }

type installation struct {
	scope   string
	clients map[[sha256.Size]byte]*client
	types   map[string]challengeType
	index   *contactIndex

	contact   *limit[contactKey]
	tenant    *limit[string]
	everybody *limit[struct{}] // not told
	prefix    *limit[blockKey] // only watched
	calls     *limit[string]
	told      []window
}

func newInstallation(text []byte) (*installation, error) {
	var said described
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(said.IndexKey)
	if err != nil {
		return nil, err
	}
	here := &installation{
		scope:     said.Scope,
		clients:   map[[sha256.Size]byte]*client{},
		types:     said.Types,
		index:     newContactIndex(key),
		contact:   newLimit[contactKey]("contact", said.Windows.Contact),
		tenant:    newLimit[string]("tenant", said.Windows.Tenant),
		everybody: newLimit[struct{}]("everybody", said.Windows.Everybody),
		prefix:    newLimit[blockKey]("sms-prefix", said.Windows.Prefix),
		calls:     newLimit[string]("calls", said.Windows.Calls),
	}
	here.told = append(here.told, here.contact.windows...)
	here.told = append(here.told, here.tenant.windows...)
	here.told = append(here.told, here.calls.windows...)
	for i := range said.Clients {
		digest, err := digestOf(said.Clients[i].SHA256)
		if err != nil {
			return nil, err
		}
		here.clients[digest] = &said.Clients[i]
	}
	for _, start := range said.Starts {
		index, err := digestOf(start.Index)
		if err != nil {
			return nil, err
		}
		here.contact.record(contactKey{start.Tenant, start.Type, index}, start.AtMs)
		here.tenant.record(start.Tenant, start.AtMs)
		here.everybody.record(struct{}{}, start.AtMs)
	}
	for _, call := range said.Calls {
		here.calls.record(call.ClientID, call.AtMs)
	}
	return here, nil
}

func digestOf(text string) (digest [sha256.Size]byte, err error) {
	bytes, err := hex.DecodeString(text)
	if err == nil && copy(digest[:], bytes) != len(digest) {
		err = fmt.Errorf("%q is no digest", text)
	}
	return digest, err
}

// given are the contacts of a request that may get the code, in normal form; empty: none.
type given struct{ phone, email string }

// wayOf says by which channel the code would go, and to which contacts it may.
func (here *installation) wayOf(asked *contactBody) (told, given, *refused) {
	var contacts given
	var err error
	takesSMS := true
	if asked.MobilePhone != nil {
		if contacts.phone, takesSMS, err = normalPhone(*asked.MobilePhone); err != nil {
			return told{}, given{}, invalid
		}
	}
	if asked.Email != nil {
		if contacts.email, err = normalEmail(*asked.Email); err != nil {
			return told{}, given{}, invalid
		}
	}
	kind, ok := here.types[asked.Type]
	if !ok {
		return told{}, given{}, unknownType
	}
	var usable given
	first := ""
	for _, channel := range kind.Routes {
		switch {
		case channel == sms && contacts.phone != "":
			usable.phone = contacts.phone
		case channel == email && contacts.email != "":
			usable.email = contacts.email
		default:
			continue
		}
		if first == "" {
			first = channel
		}
	}
	if first == "" || usable.phone != "" && !takesSMS {
		return told{}, given{}, invalid
	}
	return told{asked.Type, first, kind.AvailableIn}, usable, nil
}

// foresee asks all limits of starts, charges none, and puts what is left behind quotas.
func (here *installation) foresee(
	tenant, kind string, contacts given, quotas []quota,
) ([]quota, bool) {
	now, has := nowMs(), true
	if contacts.phone != "" {
		block := contacts.phone[:len(contacts.phone)-blockDigits]
		here.prefix.takes(blockKey{tenant, block}, now) // only watched: it refuses nothing
		key := contactKey{tenant, kind, here.index.of(tenant, sms, contacts.phone)}
		quotas, has = here.contact.foresee(key, now, quotas)
	}
	if contacts.email != "" {
		key := contactKey{tenant, kind, here.index.of(tenant, email, contacts.email)}
		var room [4]quota
		more, hasMore := here.contact.foresee(key, now, room[:0])
		if contacts.phone != "" {
			tighten(quotas, more)
		} else {
			quotas = append(quotas, more...)
		}
		has = has && hasMore
	}
	quotas, hasTenant := here.tenant.foresee(tenant, now, quotas)
	return quotas, has && hasTenant && here.everybody.takes(struct{}{}, now)
}
