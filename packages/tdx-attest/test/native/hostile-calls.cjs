// Calls the addon with everything JavaScript has, from this thread and from workers that are ended in the middle.
// usage: node hostile-calls.cjs <addon> <device>
const { Worker, isMainThread } = require("node:worker_threads");
const [, , addonPath, device] = process.argv;
const addon = require(addonPath);

const detached = new Uint8Array(64);
structuredClone(detached.buffer, { transfer: [detached.buffer] });
const resizable = new ArrayBuffer(64, { maxByteLength: 4096 });
const tracking = new Uint8Array(resizable);
const fixed = new Uint8Array(resizable, 0, 64);
const odd = [
  ...[undefined, null, true, 10n, "", "x", Symbol("s"), {}, [], () => {}, new Date()],
  ...[0, -1, 1.5, NaN, Infinity, -Infinity, 2 ** 32, 2 ** 53, 2 ** 64],
  ...["a".repeat(4095), "a".repeat(4096), `${"ü".repeat(2047)}a`, "ü".repeat(2048), "a\0b"],
  ...["\ud800".repeat(1365), "\ud800".repeat(1366)],
  ...[new Uint8Array(0), new Uint8Array(63), Buffer.alloc(64), new Uint8ClampedArray(64)],
  ...[new Uint16Array(64), new Float64Array(64), new BigUint64Array(64)],
  ...[new DataView(new ArrayBuffer(64)), new ArrayBuffer(64), new SharedArrayBuffer(64)],
  ...[Object.create(Uint8Array.prototype), new Proxy(new Uint8Array(64), {})],
  ...[new Uint8Array(new ArrayBuffer(200), 136, 64), new Uint8Array(new SharedArrayBuffer(200), 136, 64)],
  ...[detached, tracking, fixed],
];

const calls = [];
const attempt = (call) => {
  try {
    calls.push(call().catch(() => {}));
  } catch {
    // Refused at once, which is as good as later.
  }
};

function everyArgument() {
  const bytes = (length) => new Uint8Array(length);
  for (const x of odd) {
    for (const f of Object.values(addon)) {
      attempt(() => f());
      attempt(() => f(x, x, x, x, x));
      attempt(() => new f(device, x, x));
      attempt(() => f.call(x, device, x, x));
    }
    attempt(() => addon.getReport(x, bytes(64), 20));
    attempt(() => addon.getReport(device, x, 20));
    attempt(() => addon.extendRtmr(x, 3, bytes(48), 20));
    attempt(() => addon.extendRtmr(device, x, bytes(48), 20));
    attempt(() => addon.extendRtmr(device, 3, x, 20));
    attempt(() => addon.getReport(device, bytes(64), x));
    attempt(() => addon.extendRtmr(device, 3, bytes(48), x));
    attempt(() => addon.qgsRequest(x, 1, bytes(3), 20, 100));
    attempt(() => addon.qgsRequest(1, x, bytes(3), 20, 100));
    attempt(() => addon.qgsRequest(1, 1, x, 20, 100));
    attempt(() => addon.qgsRequest(1, 1, bytes(3), 20, x));
  }
}

function changedWhileRunning() {
  for (let i = 0; i < 50; i++) {
    const data = new Uint8Array(64);
    const message = new Uint8Array(100_000);
    attempt(() => addon.getReport(device, data, 20));
    attempt(() => addon.qgsRequest(1, 1, message, 20, 100));
    structuredClone(null, { transfer: [data.buffer, message.buffer] });
  }
  resizable.resize(10);
  attempt(() => addon.getReport(device, tracking, 20));
  attempt(() => addon.getReport(device, fixed, 20));
}

async function workersEndedInTheMiddle() {
  for (let i = 0; i < 6; i++) {
    const worker = new Worker(__filename, { argv: [addonPath, device] });
    setTimeout(() => void worker.terminate(), 30 + 40 * i);
    await new Promise((resolve) => worker.once("exit", resolve));
  }
}

async function main() {
  everyArgument();
  changedWhileRunning();
  await Promise.all(calls);
  if (!isMainThread) return;
  await workersEndedInTheMiddle();
  attempt(() => addon.qgsRequest(1, 1, new Uint8Array(9), 200, 100));
  console.log(`survived ${calls.length} calls`);
  process.exit(0); // with one still running
}

void main();
