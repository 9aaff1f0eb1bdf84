// A worker whose failures recoveryd looks after: node worker.mjs STREAM CONSUMER
import { connect } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";
import { failed, succeeded } from "./recovery.mjs";

const nc = await connect({ servers: process.env.NATS_URL, maxReconnectAttempts: -1 });
const js = jetstream(nc);
const consumer = await js.consumers.get(process.argv[2], process.argv[3]);
const messages = await consumer.consume({ max_messages: 8 });
process.on("SIGTERM", () => messages.stop());
console.log("ready");

for await (const msg of messages) {
  const hold = setInterval(() => msg.working(), 10_000); // while it runs nobody else gets it
  try {
    await charge(msg);
    await succeeded(js, msg).catch((error) => console.error("success not reported:", error.message));
    msg.ack();
  } catch (error) {
    await failed(js, msg, error).then(
      () => msg.ack(),
      (why) => { // not stored: not acknowledged, so that it comes again
        console.error("failure not reported:", why.message);
        msg.nak(5000);
      },
    );
  } finally {
    clearInterval(hold);
  }
}
await nc.drain();

// charge stands for work: {"id": 1, "failures": 2} fails twice, then succeeds.
async function charge(msg) {
  let order;
  try {
    order = JSON.parse(msg.string());
  } catch (error) {
    throw Object.assign(error, { class: "permanent", code: "malformed" });
  }
  const attempt = Number(msg.headers?.get("Recovery-Attempt") || 1);
  if (attempt <= (order.failures ?? 0)) throw Object.assign(new Error("connection refused"), { code: "ECONNREFUSED" });
  console.log(`charged ${order.id} at attempt ${attempt}`);
}
