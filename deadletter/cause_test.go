package deadletter

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// causeGroups holds error texts as they arrive. All texts of a group are one
// cause; no two groups are.
var causeGroups = []struct {
	name  string
	texts []string
}{
	{"go connection refused", []string{
		`dial tcp 10.0.0.1:5432: connect: connection refused`,
		`dial tcp 192.168.17.250:6379: connect: connection refused`,
		`dial tcp [::1]:5432: connect: connection refused`,
		`dial tcp [2001:db8::ff00:42:8329]:443: connect: connection refused`,
		`dial tcp db-3.internal.example.com:5432: connect: connection refused`,
		`dial tcp redis:6379: connect: connection refused`,
		`dial tcp localhost:8080: connect: connection refused`,
	}},
	{"go http client connection refused", []string{
		`Get "http://10.1.2.3:8080/orders/42": dial tcp 10.1.2.3:8080: connect: connection refused`,
		`Get "https://stock.example.com/v2/items?id=7": dial tcp 10.9.9.9:443: connect: connection refused`,
	}},
	{"go i/o timeout", []string{
		`read tcp 10.0.0.1:52344->10.0.0.2:5432: i/o timeout`,
		`read tcp 172.16.4.9:1024->172.16.4.10:80: i/o timeout`,
		`read tcp [fe80::1%eth0]:1024->[fe80::2%eth0]:80: i/o timeout`,
	}},
	{"go dial timeout", []string{`dial tcp 10.0.0.1:443: i/o timeout`, `dial tcp 10.0.0.2:8443: i/o timeout`}},
	{"go connection reset", []string{
		`read tcp 10.0.0.1:1234->10.0.0.2:443: read: connection reset by peer`,
		`read tcp 10.7.0.1:999->10.0.7.2:443: read: connection reset by peer`,
	}},
	{"broken pipe", []string{`write tcp 10.0.0.1:1->10.0.0.2:2: write: broken pipe`, `write tcp 127.0.0.1:51000->127.0.0.1:80: write: broken pipe`}},
	{"go no such host", []string{
		`dial tcp: lookup db.example.com: no such host`,
		`dial tcp: lookup orders-db: no such host`,
		`dial tcp: lookup redis: no such host`,
	}},
	{"go no such host, with server", []string{
		`dial tcp: lookup redis on 127.0.0.11:53: no such host`,
		`dial tcp: lookup api.example.com on 10.96.0.10:53: no such host`,
		`dial tcp: lookup kafka-0.kafka.svc.cluster.local on 10.96.0.10:53: no such host`,
	}},
	{"node dns", []string{`getaddrinfo ENOTFOUND api.example.com`, `getaddrinfo ENOTFOUND redis`, `getaddrinfo ENOTFOUND queue-7.internal`}},
	{"node dns again", []string{`getaddrinfo EAI_AGAIN redis`, `getaddrinfo EAI_AGAIN db.example.org`}},
	{"java dns", []string{
		`java.net.UnknownHostException: redis-master: Name or service not known`,
		`java.net.UnknownHostException: db.example.com: Name or service not known`,
	}},
	{"node refused", []string{`connect ECONNREFUSED 127.0.0.1:6379`, `connect ECONNREFUSED ::1:6379`, `connect ECONNREFUSED redis:6379`}},
	{"node timeout", []string{`connect ETIMEDOUT 10.2.0.4:443`, `connect ETIMEDOUT 10.2.0.5:443`}},
	{"node reset", []string{`read ECONNRESET`}},
	{"python refused", []string{`[Errno 111] Connection refused`}},
	{"python no route", []string{`[Errno 113] No route to host`}},

	{"status 404", []string{`unexpected status 404`, `unexpected status: 404`, `Unexpected Status (404)`}},
	{"status 503", []string{`unexpected status 503`, `unexpected status: 503.`, `unexpected status=503`}},
	{"status code 500", []string{`request failed with status code 500`, `Request failed with status code 500`, `request failed with status_code=500`}},
	{"status code 502", []string{`request failed with status code 502`, `request failed with status code: "502"`}},
	{"HTTP version and status 503", []string{`HTTP/1.1 503 Service Unavailable`, `HTTP/2 503 Service Unavailable`, `HTTP 503: Service Unavailable`}},
	{"HTTP 504", []string{`HTTP/1.1 504 Gateway Timeout`, `HTTP 504 Gateway Timeout`}},
	{"python HTTP error 404", []string{`HTTP Error 404: Not Found`, `http error 404 not found`}},
	{"python HTTP error 429", []string{`HTTP Error 429: Too Many Requests`}},
	{"status with body", []string{
		`status 422: {"error":"bad","id":17}`,
		`status 422: {"errors":[{"field":"a"}],"trace":"x"}`,
		`status 422: {"error":"cut off by the lim`,
	}},
	{"requests for url", []string{
		`503 Server Error: Service Unavailable for url: https://api.example.com/v1/orders/1`,
		`503 Server Error: Service Unavailable for url: http://10.0.0.7:8000/v1/orders/99?x=1`,
	}},

	{"postgres duplicate key", []string{
		`pq: duplicate key value violates unique constraint "users_email_key"`,
		`pq: duplicate key value violates unique constraint "orders_pkey"`,
	}},
	{"pgx duplicate key", []string{`ERROR: duplicate key value violates unique constraint "users_pkey" (SQLSTATE 23505)`}},
	{"pgx foreign key", []string{
		`ERROR: insert or update on table "orders" violates foreign key constraint "orders_user_fk" (SQLSTATE 23503)`,
		`ERROR: insert or update on table "items" violates foreign key constraint "items_order_fk" (SQLSTATE 23503)`,
	}},
	{"pgx statement timeout", []string{`ERROR: canceling statement due to statement timeout (SQLSTATE 57014)`}},
	{"pgx undefined table", []string{`ERROR: relation "a" does not exist (SQLSTATE 42P01)`, `ERROR: relation "b.c" does not exist (SQLSTATE 42P01)`}},
	{"pgx undefined column", []string{`ERROR: relation "a" does not exist (SQLSTATE 42703)`}},
	{"postgres detail", []string{
		`DETAIL: Key (email)=(a@b.c) already exists.`,
		`DETAIL: Key (email)=(o'neil(1)@example.com) already exists.`,
	}},
	{"postgres failing row", []string{
		`DETAIL: Failing row contains (17, null, 2024-01-02 03:04:05+00, foo).`,
		`DETAIL: Failing row contains (18, 'x', null).`,
	}},
	{"postgres deadlock", []string{
		`deadlock detected: Process 12345 waits for ShareLock on transaction 678; blocked by process 9.`,
		`deadlock detected: Process 1 waits for ShareLock on transaction 2; blocked by process 33333.`,
	}},
	{"mysql duplicate", []string{
		`Error 1062 (23000): Duplicate entry 'a@b.c' for key 'users.email'`,
		`Error 1062 (23000): Duplicate entry '42-\'x\'' for key 'PRIMARY'`,
	}},
	{"mysql lock wait", []string{`Error 1205 (HY000): Lock wait timeout exceeded; try restarting transaction`}},
	{"php pdo", []string{`SQLSTATE[23000]: Integrity constraint violation`, `SQLSTATE[23000]: integrity constraint violation`}},
	{"php pdo gone", []string{`SQLSTATE[HY000]: Integrity constraint violation`}},
	{"sqlite unique", []string{`UNIQUE constraint failed: users.email`}},
	{"sqlite busy", []string{`database is locked (5) (SQLITE_BUSY)`, `database is locked (261) (SQLITE_BUSY)`}},
	{"oracle unique", []string{`ORA-00001: unique constraint (SHOP.PK) violated`}},
	{"oracle null", []string{`ORA-01400: unique constraint (SHOP.PK) violated`}},

	{"java npe in charge", []string{
		"java.lang.NullPointerException: null\n\tat com.acme.Billing.charge(Billing.java:42)\n\tat com.acme.App.main(App.java:7)",
		"java.lang.NullPointerException: null\n\tat com.acme.Billing.charge(Billing.java:57)\n\tat org.other.Thing.run(Thing.java:1)\n\t... 12 more",
		`java.lang.NullPointerException: null at com.acme.Billing.charge(Billing.java:42) at com.acme.App.main(App.java:7)`,
		`java.lang.NullPointerException: null\n\tat com.acme.Billing.charge(Billing.java:42)\n\tat com.acme.App.main(App.java:7)`,
	}},
	{"java npe in refund", []string{"java.lang.NullPointerException: null\n\tat com.acme.Billing.refund(Billing.java:99)"}},
	{"java s3 exception", []string{`software.amazon.awssdk.services.s3.model.S3Exception: Slow Down`}},
	{"java http2 exception", []string{`software.amazon.awssdk.services.s3.model.Http2Exception: Slow Down`}},
	{"node type error", []string{
		"TypeError: Cannot read properties of undefined (reading 'id')\n    at handle (/app/src/orders.js:10:5)\n    at async run (/app/x.js:1:1)",
		"TypeError: Cannot read properties of undefined (reading 'total')\n    at async handle (/srv/release-77/src/orders.js:12:9)",
		"TypeError: Cannot read properties of undefined (reading 'id') at handle (file:///app/orders.mjs:10:5) at process.processTicksAndRejections (node:internal/process/task_queues:95:5)",
	}},
	{"python value error", []string{
		"Traceback (most recent call last):\n  File \"/app/w.py\", line 3, in run\n    go()\nValueError: amount must be positive",
		"Traceback (most recent call last):\n  File \"/srv/v.py\", line 33, in other\n    int(x)\nValueError: amount must be positive\n",
		"ValueError: amount must be positive",
	}},
	{"python key error", []string{`KeyError: 'user_id'`, `KeyError: 'total'`}},
	{"go index panic", []string{
		"panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\ngithub.com/acme/app/orders.(*Service).Handle(0xc000010000, 0x1)\n\t/src/orders.go:12 +0x1d",
		"panic: runtime error: index out of range [17] with length 0\n\ngoroutine 4242 [running]:\ngithub.com/acme/app/orders.(*Service).Handle(0xc0000ffff8)\n\t/build/orders.go:14 +0x2f",
		"panic: runtime error: index out of range [0] with length 0 goroutine 7 [running, locked to thread]: orders.(*Service).Handle(0xc0000ffff8) /build/orders.go:14 +0x2f",
	}},
	{"go nil panic", []string{
		`runtime error: invalid memory address or nil pointer dereference [signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x4a5b6c]`,
		`runtime error: invalid memory address or nil pointer dereference [signal SIGSEGV: segmentation violation code=0x80 addr=0x18 pc=0x10ff]`,
	}},
	{"rust panic", []string{`thread 'main' panicked at src/main.rs:4:5: index out of bounds: the len is 3 but the index is 99`, `thread 'worker-2' panicked at src/lib.rs:40:15: index out of bounds: the len is 0 but the index is 1`}},
	{"dotnet", []string{
		"System.InvalidOperationException: Sequence contains no elements\n   at Shop.Cart.Total(Int32 id) in C:\\src\\Cart.cs:line 12\n   at Shop.Main()",
		"System.InvalidOperationException: Sequence contains no elements\r\n   at Shop.Cart.Total(Int32 id) in D:\\b\\Cart.cs:line 99",
	}},
	{"php uncaught", []string{
		"PHP Fatal error:  Uncaught Exception: no stock in /var/www/a.php:12\nStack trace:\n#0 /var/www/b.php(3): foo()",
		"PHP Fatal error:  Uncaught Exception: no stock in /srv/www/x/a.php:14\nStack trace:\n#0 {main}",
	}},
	{"ruby", []string{"undefined method `total' for nil:NilClass (NoMethodError)\n\tfrom a.rb:1:in `x'", "undefined method `name' for nil:NilClass (NoMethodError)"}},
	{"joined errors", []string{"write a: disk full\nwrite b: disk full"}},

	{"go json character", []string{`invalid character 'x' looking for beginning of value`, `invalid character '\'' looking for beginning of value`, `invalid character '"' looking for beginning of value`}},
	{"go json end", []string{`unexpected end of JSON input`}},
	{"go json type", []string{`json: cannot unmarshal string into Go struct field Order.amount of type int64`}},
	{"python json", []string{`Expecting value: line 1 column 1 (char 0)`, `Expecting value: line 12 column 44 (char 1093)`}},
	{"node json", []string{`Unexpected token < in JSON at position 0`, `Unexpected token o in JSON at position 1`, `Unexpected token } in JSON at position 77`}},
	{"new node json", []string{`Unexpected token '<', "<!DOCTYPE "... is not valid JSON`, `Unexpected token 'o', "[object Obj"... is not valid JSON`}},
	{"json body", []string{
		`{"error":{"code":"card_declined","message":"Your card was declined.","request_id":"req_8f7d9a6b5c4d"}}`,
		`{"error": {"code": "card_declined", "message": "Your card was declined.", "request_id": "req_0a1b2c3d4e5f"}}`,
	}},
	{"json body expired", []string{`{"error":{"code":"expired_card","message":"Your card has expired.","request_id":"req_8f7d9a6b5c4d"}}`}},

	{"context deadline", []string{`context deadline exceeded`, `Context deadline exceeded`, ` context  deadline exceeded `}},
	{"context canceled", []string{`context canceled`}},
	{"client timeout", []string{
		`Post "https://a.example.com/x": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
		`Post "http://10.0.0.1/y": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
	}},
	{"axios timeout", []string{`timeout of 5000ms exceeded`, `timeout of 30s exceeded`, `timeout of 1m30s exceeded`, `timeout of 2.5 seconds exceeded`}},
	{"handler took", []string{`handler took 1.5 s, limit 1 s`, `handler took 250 milliseconds, limit 100ms`}},
	{"tls expired", []string{
		`tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2024-01-02T03:04:05Z is after 2023-12-31T23:59:59Z`,
		`tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-07-08T11:12:13+02:00 is after 2026-07-01T00:00:00Z`,
	}},
	{"tls wrong host", []string{
		`x509: certificate is valid for a.example.com, b.example.com, not c.example.com`,
		`x509: certificate is valid for *.acme.io, not acme.dev`,
	}},
	{"tls unknown authority", []string{`x509: certificate signed by unknown authority`}},
	{"tls handshake", []string{`remote error: tls: handshake failure`}},
	{"python ssl", []string{`[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1129)`, `[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:997)`}},

	{"kafka unknown topic", []string{`[Error 3] UNKNOWN_TOPIC_OR_PARTITION: topic "a" partition 7`, `[Error 3] UNKNOWN_TOPIC_OR_PARTITION: topic "b" partition 0`}},
	{"kafka offset", []string{`Fetch position FetchPosition{offset=12345, epoch=0} is out of range for partition orders-3`, `Fetch position FetchPosition{offset=9, epoch=Optional[4]} is out of range for partition orders-11`}},
	{"kafka leader", []string{`broker kafka-1:9092 is not the leader for partition 4`, `broker kafka-22:9092 is not the leader for partition 0`}},
	{"redis moved", []string{`MOVED 3999 127.0.0.1:6381`, `MOVED 12182 10.0.0.5:6379`}},
	{"redis readonly", []string{`READONLY You can't write against a read only replica.`}},
	{"redis wrong type", []string{`WRONGTYPE Operation against a key holding the wrong kind of value`}},
	{"redis oom", []string{`OOM command not allowed when used memory > 'maxmemory'.`}},
	{"s3 no such key", []string{
		`operation error S3: GetObject, https response error StatusCode: 404, RequestID: 4442587FB7D0A2F9, HostID: Zk3+vJ/9sX2aQ8rT1uW5yB7nM4cL6pD0fG3hJ8kE2iOqAzSxVbN1mR5tY9wUe=, NoSuchKey: The key does not exist`,
		`operation error S3: GetObject, https response error StatusCode: 404, RequestID: AB1C9D8E7F605142, HostID: 9kJ2hG4fD6sA8pO1iU3yT5rE7wQ0zX2cV4bN6mL8nB1vC3xZ5aS7dF9gH0jKlQw=, NoSuchKey: The key does not exist`,
	}},
	{"s3 slow down", []string{`operation error S3: GetObject, https response error StatusCode: 503, RequestID: 4442587FB7D0A2F9, HostID: , api error SlowDown: Please reduce your request rate.`}},
	{"grpc unavailable", []string{`rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 10.0.0.1:50051: connect: connection refused"`, `rpc error: code = Unavailable desc = connection error: desc = "transport: authentication handshake failed"`}},
	{"grpc deadline", []string{`rpc error: code = DeadlineExceeded desc = context deadline exceeded`}},
	{"grpc number", []string{`14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED 10.0.0.1:50051 (2024-05-06T07:08:09.123Z)`, `14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED 10.3.2.1:443 (2025-11-16T17:18:19.001Z)`}},
	{"stripe no such customer", []string{`No such customer: 'cus_NffrFeUfNV2Hib'`, `No such customer: 'cus_9s6XKzkNRiz8i3'`, `No such customer: "cus_1"`}},
	{"stripe charge", []string{`Charge ch_3MmlLrLkdIwHu7ix0snN0B15 has already been refunded.`, `Charge ch_1Ab2Cd3Ef4Gh5Ij6Kl7Mn8Op has already been refunded.`}},
	{"node code property", []string{`{ errno: -111, code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1', port: 6379 }`, `{ errno: -111, code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1', port: 6380 }`}},
	{"quoted code", []string{`failed, code: "card_declined"`}},
	{"other quoted code", []string{`failed, code: "expired_card"`}},

	{"order by any id", []string{
		`order 42 not found`, `order #4711 not found`, `order 550e8400-e29b-41d4-a716-446655440000 not found`, `order 01ARZ3NDEKTSV4RRFFQ69G5FAV not found`,
		`order 507f1f77bcf86cd799439011 not found`, `order "A-1" not found`, `order «A-1» not found`, `order “A 1” not found`, `order ‘x’ not found`, "order `x` not found",
		`order deadbeef not found`, `order 3f2a91 not found`, `order [1, 2, 3] not found`,
		`order {"id": 7} not found`, `order a@example.com not found`, `order https://example.com/o/1 not found`, `order /srv/orders/1.json not found`,
	}},
	{"user by id", []string{`user 42 not found`, `user12 not found`}},
	{"pod", []string{`pod orders-7d9f8b6c5-bxkqz was evicted`, `pod orders-5c6b7a8d9f-zzqwt was evicted`}},
	{"file and line", []string{`main.go:12: assertion failed`, `worker.go:4711: assertion failed`, `src/deep/down.go:9:15: assertion failed`}},
	{"no such file", []string{`open /etc/app/config.yaml: no such file or directory`, `open /tmp/x-123: no such file or directory`, `open ./data/7.json: no such file or directory`, `open C:\data\new.txt: no such file or directory`}},
	{"java object", []string{`cannot serialise com.acme.Order@1a2b3c4d`, `cannot serialise com.acme.Item@7f00aa`}},
	{"pointer", []string{`bad handle at 0xc000123456`, `bad handle at 0x1`}},
	{"http date", []string{`rate limited until Mon, 02 Jan 2006 15:04:05 GMT`, `rate limited until Sun, 12 Oct 2025 01:00:00 GMT`, `rate limited until 2006-01-02 15:04:05.123 +0000 UTC m=+0.001`, `rate limited until Jan 2, 2006`}},
	{"exit 1", []string{`exit status 1`}},
	{"exit 137", []string{`exit status 137`}},
	{"jwt", []string{`token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U is expired`, `token eyJ0eXAiOiJKV1QifQ.eyJhIjoxfQ.AbCdEfGhIjKlMnOp is expired`}},
	{"chinese", []string{`连接被拒绝：10.0.0.1:5432`, `连接被拒绝：10.0.0.2:5433`}},
	{"german", []string{`Verbindung zu „db1“ wurde zurückgewiesen`, `Verbindung zu „db 2“ wurde zurückgewiesen`}},
	{"nothing said", []string{``, ` `, "\n"}},
}

func TestCauseGroups(t *testing.T) {
	t.Parallel()
	groupOf := map[string]string{}
	texts := 0
	for _, group := range causeGroups {
		want := Normalise(group.texts[0])
		for _, text := range group.texts {
			texts++
			if got := Normalise(text); got != want {
				t.Errorf("%s: %q\n got %q\nwant %q", group.name, text, got, want)
			}
		}
		cause := Cause("exhausted", group.texts[0])
		if other, taken := groupOf[cause]; taken {
			t.Errorf("%s and %s are both %q", group.name, other, want)
		}
		groupOf[cause] = group.name
	}
	t.Logf("%d groups, %d texts", len(causeGroups), texts)
}

func TestNormaliseReads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{`dial tcp 10.0.0.1:5432: connect: connection refused`, `dial tcp # connect connection refused`},
		{`HTTP/1.1 503 Service Unavailable`, `http 503 service unavailable`},
		{`ERROR: relation "a" does not exist (SQLSTATE 42P01)`, `error relation # does not exist sqlstate 42p01`},
		{`Key (email)=(a@b.c) already exists`, `key email # already exists`},
		{`connect ECONNREFUSED redis:6379`, `connect econnrefused #`},
		{`code 123456 is not a status`, `code # is not a status`},
		{`took 5 ms on May 3`, `took # on #`},
		{`you may retry`, `you may retry`},
		{`ÄRGER İ Ω`, `ärger İ ω`},
		{`don't`, `don t`},
		{"bad \xff byte", `bad byte`},
		{`{"message":"no stock","id":7}`, `message no stock id #`},
		{"x: y\n\tat a.b.C.d(C.java:1)\n\tat e.f(G.java:2)", `x y at a b c d`},
	} {
		if got := Normalise(c.text); got != c.want {
			t.Errorf("%q\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}

// Clients in other languages compute these, so they must not change.
func TestCauseIsStable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ reason, text, want string }{
		{"", "", "29620a93"},
		{"exhausted", "connection refused", "48aefb4f"},
		{"permanent", "connection refused", "8582ae1b"},
	} {
		if got := Cause(c.reason, c.text); got != c.want {
			t.Errorf("Cause(%q, %q) = %s, want %s", c.reason, c.text, got, c.want)
		}
	}
}

func TestCauseReadsOnlyTheBeginning(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é ", 500)
	if Cause("r", long) != Cause("r", long+"tail") {
		t.Error("what follows the first 1,000 characters changes the cause")
	}
	if got := Normalise(strings.Repeat("word ", 300)); len(got) > maxCauseOutput || !strings.HasSuffix(got, " word") {
		t.Errorf("a long text is cut to %d bytes: …%q", len(got), got[len(got)-9:])
	}
}

// Lower case must stay what it was, a letter or a mark, and be final, or
// Normalise is not idempotent.
func TestLowerCaseIsFinal(t *testing.T) {
	t.Parallel()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		l := lower(r)
		if isWordRune(r) && (!isWordRune(l) || isDigit(r) != isDigit(l) || lower(l) != l || (l < utf8.RuneSelf) != (r < utf8.RuneSelf)) {
			t.Errorf("%U becomes %U", r, l)
		}
	}
}

func checkNormal(t interface{ Fatalf(string, ...any) }, text string) {
	once := Normalise(text)
	if twice := Normalise(once); twice != once {
		t.Fatalf("not idempotent: %q\n once %q\ntwice %q", text, once, twice)
	}
	if len(once) > maxCauseOutput || !utf8.ValidString(once) || strings.ContainsAny(once, "\r\n\"'{}()") {
		t.Fatalf("%q becomes %q", text, once)
	}
	if Cause("r", text) != Cause("r", once) {
		t.Fatalf("%q and its normal form have different causes", text)
	}
}

// fragments are what the rules look at; their mixtures find what random bytes
// do not.
var fragments = []string{
	" ", " ", " ", "\n", "\n\tat ", `\n\tat `, " at ", "a.b(C.java:1)", "goroutine 1 [running]:\n", "main.(*T).f(0x1)", "Stack trace:", "from ",
	"status", "code", "HTTP", "/1.1", "SQLSTATE", "23505", "42P01", "404", "5ms", "7", "of", "error", "lookup ", "redis", "redis-1", " on ", "ENOTFOUND", "EAI_AGAIN",
	"UnknownHostException", "unexpected token", " o ", "Mon", "Jan", "may", "seconds", "s", "Z", "#", "*", "'", "\"", "`", "“", "”", "„", "«", "»", "‘", "’",
	"{", "}", "(", ")", "=(", "contains (", "[", "]", ":", "::", ".", ",", "-", "_", "/", "@", "\\", "%", "deadbeef", "7d9f8b6c5", "x2x4z", "S3Exception", "worker12",
	"550e8400-e29b-41d4-a716-446655440000", "10.0.0.1:5432", "fe80::1%eth0", "https://", "example.com", "eyJhbGciOiJIUzI1NiJ9", "é", "İ", "世界", "\u0301", "٤", "\xff", "ABcdEFghIJklMNop",
}

func TestNormaliseIsIdempotent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		checkNormal(t, strings.Join(rapid.SliceOfN(rapid.SampledFrom(fragments), 0, 12).Draw(t, "fragments"), ""))
	})
}

func FuzzNormalise(f *testing.F) {
	for _, group := range causeGroups {
		f.Add(group.texts[0])
	}
	f.Fuzz(func(t *testing.T, text string) { checkNormal(t, text) })
}

func BenchmarkCause(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"100 characters", `Get "https://stock.example.com/v2/items?id=7": dial tcp 10.9.9.9:443: connect: connection refused (1)`},
		{"words only", strings.Repeat("plain words ", 8)},
		{"hostile", strings.Repeat(` "'a{b`, 166)},
		{"hostile at", strings.Repeat("at ", 333)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Cause("exhausted", c.text)
			}
		})
	}
}
