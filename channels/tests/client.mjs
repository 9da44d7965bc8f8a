// A client of a relay in JavaScript, from docs/channels/protocol.md and vectors.json alone: node's own crypto, fetch and WebSocket.
// One command a line on stdin, as JSON; one answer a line on stdout.

import {
  createCipheriv, createDecipheriv, createECDH, createHash, createHmac, createPrivateKey, createPublicKey, hkdfSync,
  randomBytes, sign, verify,
} from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const ALG = "ecdh-p256+hkdf-sha256+aes-256-gcm/1";
const SIGNED_ALG = "ecdh-p256+hkdf-sha256+aes-256-gcm/2";
const ZERO = "0".repeat(26);

function newId() {
  const random = BigInt(`0x${randomBytes(10).toString("hex")}`);
  const number = (BigInt(Date.now()) << 80n) | random;
  let text = "";
  for (let at = 25n; at >= 0n; at--) text += ALPHABET[Number((number >> (5n * at)) & 31n)];
  return text;
}

const b64 = (bytes) => Buffer.from(bytes).toString("base64url");
function bytes(text) {
  const read = Buffer.from(text, "base64url");
  if (read.toString("base64url") !== text) throw new Error("not base64url");
  return read;
}

function fields(...all) {
  return Buffer.concat(all.flatMap((field) => {
    const data = Buffer.isBuffer(field) ? field : Buffer.from(String(field), "utf8");
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    return [length, data];
  }));
}

function device(scalar) {
  const ecdh = createECDH("prime256v1");
  if (scalar) ecdh.setPrivateKey(scalar);
  else ecdh.generateKeys();
  return ecdh;
}

function point(raw) {
  if (raw.length !== 65 || raw[0] !== 4) throw new Error("not an uncompressed point");
  return raw;
}

function encrypt(key, nonce, aad, plain) {
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  cipher.setAAD(aad);
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key, nonce, aad, sealed) {
  if (sealed.length < 16 || nonce.length !== 12) throw new Error("cut");
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: 16 });
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
}

const hkdf = (ikm, salt, info, length) => Buffer.from(hkdfSync("sha256", ikm, salt, info, length));

// A label of the second kind has the hash of the key state right behind it; the first kind is of versions without a state.
const bound = (kind, hash, ...context) => (hash
  ? fields(`plexus-channels/2/${kind}`, hash, ...context)
  : fields(`plexus-channels/1/${kind}`, ...context));

function wrapKey(z, salt, hash, channel, version, fromId, fromKey, toId, toKey) {
  const okm = hkdf(z, salt, bound("wrap", hash, channel, version, fromId, fromKey, toId, toKey), 44);
  return { key: okm.subarray(0, 32), nonce: okm.subarray(32) };
}

function wrap(ecdh, hash, fromId, toId, toKey, channel, version, channelKey, salt = randomBytes(32)) {
  const z = ecdh.computeSecret(point(toKey));
  const { key, nonce } = wrapKey(z, salt, hash, channel, version, fromId, ecdh.getPublicKey(), toId, toKey);
  const ciphertext = encrypt(key, nonce, Buffer.alloc(0), channelKey);
  return {
    device_id: toId, key_version: version, alg: hash ? SIGNED_ALG : ALG, sender_device_id: fromId,
    salt: b64(salt), ciphertext: b64(ciphertext),
  };
}

function unwrap(ecdh, hash, channel, wire, senderKey) {
  if (wire.alg !== (hash ? SIGNED_ALG : ALG)) throw new Error("unknown alg");
  const z = ecdh.computeSecret(point(senderKey));
  const { key, nonce } = wrapKey(z, bytes(wire.salt), hash, channel, wire.key_version,
    wire.sender_device_id, senderKey, wire.device_id, ecdh.getPublicKey());
  return decrypt(key, nonce, Buffer.alloc(0), bytes(wire.ciphertext));
}

const messageData = (m, hash) => bound("message", hash, m.channel_id, m.key_version,
  m.sender_id, m.sender_device_id, m.client_message_id, m.seq);
const nameData = (channel, name, hash) =>
  bound("name", hash, channel, name.key_version, name.sender_device_id);

const sha256 = (...all) => createHash("sha256").update(Buffer.concat(all)).digest();
const commitment = (key, channel, version) =>
  createHmac("sha256", key).update(fields("plexus-channels/2/commitment", channel, version)).digest();
const earlierData = (channel, version, earlier) => fields("plexus-channels/2/earlier-key", channel, version, earlier);

// What is signed of a key state; members: device → { user, key }.
function stateBytes(channel, state, members) {
  const devices = [...members.keys()].sort();
  const named = devices.map((id) => fields(members.get(id).user, id, members.get(id).key));
  const earlier = state.earlier.map((e) => fields(e.key_version, bytes(e.nonce), bytes(e.ciphertext)));
  return fields("plexus-channels/2/state", state.suite, channel, state.key_version, bytes(state.previous),
    sha256(fields("plexus-channels/2/members"), ...named), bytes(state.commitment),
    sha256(fields("plexus-channels/2/earlier"), ...earlier), state.user_id, state.device_id);
}

function jwk(raw, scalar) {
  const key = { kty: "EC", crv: "P-256", x: b64(raw.subarray(1, 33)), y: b64(raw.subarray(33)) };
  return scalar ? { ...key, d: b64(scalar) } : key;
}

function signed(ecdh, data) {
  const scalar = Buffer.concat([Buffer.alloc(32), ecdh.getPrivateKey()]).subarray(-32);
  const key = createPrivateKey({ key: jwk(ecdh.getPublicKey(), scalar), format: "jwk" });
  return sign("sha256", data, { key, dsaEncoding: "ieee-p1363" });
}

function hasSigned(raw, data, signature) {
  const key = createPublicKey({ key: jwk(point(raw)), format: "jwk" });
  return verify("sha256", data, { key, dsaEncoding: "ieee-p1363" }, signature);
}

// The chain that states make: version → { state, hash, members }. Throws where one is no successor.
function follow(channel, states) {
  const chain = new Map();
  let before;
  for (const state of states) {
    const members = new Map(before?.members);
    for (const id of state.removed) if (!members.delete(id)) throw new Error("took out nobody");
    for (const { user_id, device_id, public_key } of state.added) {
      if (members.has(device_id)) throw new Error("brought in a member");
      members.set(device_id, { user: user_id, key: point(bytes(public_key)) });
    }
    const by = members.get(state.device_id);
    const was = before?.members.get(state.device_id);
    const data = stateBytes(channel, state, members);
    const fits = state.suite === 1 && by?.user === state.user_id
      && state.previous === (before ? b64(before.hash) : "")
      && (!before || (state.key_version === before.state.key_version + 1 && was?.key.equals(by.key)));
    if (!fits || !hasSigned(by.key, data, bytes(state.signature))) throw new Error("no successor");
    before = { state, hash: sha256(data), members };
    chain.set(state.key_version, before);
  }
  return chain;
}

function prove(ecdh, login) {
  const server = point(login.server_public_key);
  const info = fields("plexus-channels/1/auth", login.challenge_id, login.agent_id, login.device_id,
    server, ecdh.getPublicKey());
  const key = hkdf(ecdh.computeSecret(server), login.nonce, info, 32);
  return createHmac("sha256", key).update(fields("plexus-channels/1/auth-proof", login.challenge_id)).digest();
}

// Every vector, and every case that must fail.
function vectors(file) {
  const all = JSON.parse(readFileSync(file, "utf8"));
  let checked = 0;
  const same = (a, b, what) => {
    if (Buffer.compare(Buffer.from(a), Buffer.from(b)) !== 0) throw new Error(`vector ${what}`);
    checked += 1;
  };
  const fails = (act, what) => {
    try { act(); } catch { checked += 1; return; }
    throw new Error(`vector ${what} must fail`);
  };
  const hex = (text) => Buffer.from(text, "hex");
  const keyOf = (name) => device(hex(all.devices[name].private_scalar));
  for (const v of all.fields) same(fields(...v.in), hex(v.out), "fields");
  for (const [name, v] of Object.entries(all.devices)) {
    same(keyOf(name).getPublicKey(), hex(v.public_raw), name);
    same(createHash("sha256").update(hex(v.public_raw)).digest(), hex(v.fingerprint), name);
  }
  for (const [name, text] of Object.entries(all.public_keys_to_refuse)) {
    fails(() => keyOf("A").computeSecret(point(bytes(text))), name);
  }
  for (const text of all.base64url_to_refuse) fails(() => bytes(text), text);
  const opened = (v, wire, channel) =>
    unwrap(keyOf(v.recipient), null, channel, wire, hex(all.devices[v.sender].public_raw));
  for (const v of all.wrap) {
    same(opened(v, v.wire, v.channel_id), hex(v.channel_key), v.name);
    const made = wrap(keyOf(v.sender), null, v.wire.sender_device_id, v.wire.device_id,
      hex(all.devices[v.recipient].public_raw), v.channel_id, v.key_version, hex(v.channel_key), bytes(v.wire.salt));
    same(bytes(made.ciphertext), bytes(v.wire.ciphertext), v.name);
  }
  for (const v of all.wrap_must_fail) {
    const of = all.wrap.find((w) => w.name === v.of);
    const { channel_id = of.channel_id, ...context } = v.change_context;
    fails(() => opened(of, { ...of.wire, ...v.change_wire, ...context }, channel_id), v.name);
  }
  const open = (key, w) => decrypt(hex(key), bytes(w.nonce), messageData(w, null), bytes(w.ciphertext));
  for (const v of all.message) {
    const plain = open(v.channel_key, v.wire);
    if (v.plaintext) same(plain, Buffer.from(v.plaintext, "utf8"), v.name);
    else same(createHash("sha256").update(plain).digest(), hex(v.plaintext_sha256), v.name);
  }
  for (const v of all.message_must_fail) {
    const of = all.message.find((m) => m.name === v.of);
    fails(() => open(of.channel_key, { ...of.wire, ...v.change }), v.name);
  }
  for (const v of all.name) {
    const plain = decrypt(hex(v.channel_key), bytes(v.wire.nonce), nameData(v.channel_id, v.wire, null), bytes(v.wire.ciphertext));
    same(plain, Buffer.from(v.plaintext, "utf8"), "name");
  }
  for (const v of all.auth) {
    const login = { ...v, device_id: all.devices[v.device].device_id, nonce: bytes(v.nonce),
      server_public_key: hex(all.devices[v.server].public_raw) };
    same(prove(keyOf(v.device), login), bytes(v.proof), "auth");
  }
  for (const v of all.state) {
    const chain = follow(v.channel_id, v.states);
    v.states.forEach((state, at) => {
      const { hash, members } = chain.get(state.key_version);
      same(stateBytes(v.channel_id, state, members), hex(v.signed[at]), "state");
      same(hash, hex(v.hashes[at]), "hash of a state");
      same(commitment(hex(v.keys[at]), v.channel_id, state.key_version), bytes(state.commitment), "commitment");
      for (const earlier of state.earlier) {
        const data = earlierData(v.channel_id, state.key_version, earlier.key_version);
        same(decrypt(hex(v.keys[at]), bytes(earlier.nonce), data, bytes(earlier.ciphertext)), hex(v.keys[at - 1]), "earlier key");
      }
    });
  }
  for (const v of all.state_must_fail) {
    const of = all.state.find((w) => w.name === v.of);
    const states = of.states.map((state, at) => (at === v.at ? { ...state, ...v.change } : state));
    fails(() => follow(of.channel_id, states), v.name);
  }
  return { checked };
}

const endpoint = process.argv[2];
const own = device();
const pins = new Map(); // device → { user, key }
const keys = new Map(); // channel/version → key
const chains = new Map(); // channel → its chain
const seqs = new Map(); // channel → last number
const inbox = [];
const waiting = [];
let me, token;

async function call(method, path, body, authorized = true) {
  const headers = { "content-type": "application/json" };
  if (authorized) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(`${endpoint}/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
  const json = answer.status === 204 ? {} : await answer.json();
  if (answer.ok) return json;
  const error = new Error(json.error.message);
  error.code = json.error.code;
  throw error;
}

async function learn(user) {
  let profile;
  try { profile = await call("GET", `/agents/${user}`); } catch { profile = await call("GET", `/humans/${user}`); }
  for (const found of profile.devices) {
    const known = pins.get(found.device_id);
    if (!known) pins.set(found.device_id, { user, key: point(bytes(found.public_key)) });
    else if (known.user !== user || b64(known.key) !== found.public_key) throw new Error("another key than before");
  }
  return profile.devices.map((found) => found.device_id);
}

const newest = (channel) => [...(chains.get(channel)?.values() ?? [])].at(-1);

async function fetchKeys(channel) {
  const known = [...(chains.get(channel)?.values() ?? [])].map((link) => link.state);
  const states = [...known];
  let wraps = [];
  for (let more = true; more;) {
    const after = states.at(-1)?.key_version ?? 0;
    const answer = await call("GET", `/channels/${channel}/keys?after_version=${after}`);
    states.push(...answer.states);
    [wraps, more] = [answer.keys, answer.has_more];
  }
  const chain = follow(channel, states);
  for (const { members } of chain.values()) {
    for (const [id, { user, key }] of members) {
      if (!pins.has(id)) pins.set(id, { user, key });
      else if (pins.get(id).user !== user || !pins.get(id).key.equals(key)) throw new Error("another key than before");
    }
  }
  chains.set(channel, chain);
  for (const held of wraps) {
    const link = chain.get(held.key_version);
    if (!link || held.sender_device_id !== link.state.device_id) continue;
    const key = unwrap(own, link.hash, channel, held, link.members.get(link.state.device_id).key);
    if (b64(commitment(key, channel, held.key_version)) !== link.state.commitment) continue;
    keys.set(`${channel}/${held.key_version}`, key);
  }
  for (const [version, { state }] of [...chain].reverse()) {
    const key = keys.get(`${channel}/${version}`);
    for (const earlier of key ? state.earlier : []) {
      const data = earlierData(channel, version, earlier.key_version);
      const opened = decrypt(key, bytes(earlier.nonce), data, bytes(earlier.ciphertext));
      const before = chain.get(earlier.key_version);
      if (before && b64(commitment(opened, channel, earlier.key_version)) !== before.state.commitment) continue;
      keys.set(`${channel}/${earlier.key_version}`, opened);
    }
  }
}

// The next version, for these members: its key, its state, its hash, its wraps.
function succeed(channel, members) {
  const before = newest(channel);
  const version = (before?.state.key_version ?? 0) + 1;
  const key = randomBytes(32);
  const isNew = ([id, { key: own }]) => !before?.members.get(id)?.key.equals(own);
  const earlier = before ? [before.state.key_version].map((key_version) => {
    const nonce = randomBytes(12);
    const data = earlierData(channel, version, key_version);
    return { key_version, nonce: b64(nonce), ciphertext: b64(encrypt(key, nonce, data, keys.get(`${channel}/${key_version}`))) };
  }) : [];
  const state = {
    suite: 1, key_version: version, previous: before ? b64(before.hash) : "",
    added: [...members].filter(isNew).map(([device_id, { user, key: raw }]) => (
      { user_id: user, device_id, public_key: b64(raw) })),
    removed: [...(before?.members.keys() ?? [])].filter((id) => !members.has(id)),
    commitment: b64(commitment(key, channel, version)), earlier, user_id: me.agent_id, device_id: me.device_id,
  };
  const data = stateBytes(channel, state, members);
  state.signature = b64(signed(own, data));
  const hash = sha256(data);
  const wraps = [...members].map(([id, { key: raw }]) => wrap(own, hash, me.device_id, id, raw, channel, version, key));
  return { key, version, state, hash, wraps };
}

async function keyFor(channel, version) {
  const at = `${channel}/${version}`;
  if (!keys.has(at)) await fetchKeys(channel);
  if (!keys.has(at)) throw new Error("unknown key version");
  return keys.get(at);
}

function seal(channel, version, hash, key, text) {
  const seq = (seqs.get(channel) ?? 0) + 1;
  seqs.set(channel, seq);
  const post = { client_message_id: newId(), key_version: version, seq };
  const data = messageData({ ...post, channel_id: channel, sender_id: me.agent_id, sender_device_id: me.device_id }, hash);
  const nonce = randomBytes(12);
  const ciphertext = encrypt(key, nonce, data, Buffer.from(JSON.stringify({ type: "text", text }), "utf8"));
  return { ...post, nonce: b64(nonce), ciphertext: b64(ciphertext) };
}

async function open(message) {
  const key = await keyFor(message.channel_id, message.key_version);
  const link = chains.get(message.channel_id).get(message.key_version);
  if (link.members.get(message.sender_device_id)?.user !== message.sender_id) throw new Error("not a member's device");
  const plain = decrypt(key, bytes(message.nonce), messageData(message, link.hash), bytes(message.ciphertext));
  const content = JSON.parse(plain.toString("utf8"));
  return content.type === "text" ? content.text : "[unsupported message]";
}

async function devicesOf(users) {
  const members = new Map();
  for (const user of users) {
    for (const id of user === me.agent_id ? [] : await learn(user)) members.set(id, pins.get(id));
  }
  return members.set(me.device_id, { user: me.agent_id, key: own.getPublicKey() });
}

const commands = {
  vectors: ({ file }) => vectors(file),

  async register({ invitation, first_name }) {
    const body = { registration_id: newId(), invitation_key: invitation, first_name,
      device: { public_key: b64(own.getPublicKey()) } };
    me = await call("POST", "/register", body, false);
    const again = await call("POST", "/register", body, false);
    if (again.agent_id !== me.agent_id) throw new Error("a second identity");
    const ids = { agent_id: me.agent_id, device_id: me.device_id };
    const challenge = await call("POST", "/auth/challenge", ids, false);
    const proof = prove(own, { ...challenge, ...ids, nonce: bytes(challenge.nonce),
      server_public_key: bytes(challenge.server_public_key) });
    const login = await call("POST", "/auth/token",
      { ...ids, challenge_id: challenge.challenge_id, proof: b64(proof) }, false);
    token = login.access_token;
    return me;
  },

  listen: () => new Promise((bound, failed) => {
    const socket = new WebSocket(`${endpoint.replace("http", "ws")}/v1/events`,
      { headers: { authorization: `Bearer ${token}` } });
    socket.onerror = () => failed(new Error("no socket"));
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.type === "ready") bound(event);
      if (event.type !== "message.created" || event.message.sender_id === me.agent_id) return;
      const take = waiting.shift();
      if (take) take(event.message);
      else inbox.push(event.message);
    };
  }),

  async receive() {
    const message = inbox.shift() ?? await new Promise((take) => waiting.push(take));
    return { text: await open(message) };
  },

  async create({ name, members, message }) {
    const channel = newId();
    const { key, state, hash, wraps } = succeed(channel, await devicesOf(members));
    const sealed = { key_version: 1, sender_device_id: me.device_id };
    const nonce = randomBytes(12);
    const ciphertext = encrypt(key, nonce, nameData(channel, sealed, hash), Buffer.from(name, "utf8"));
    await call("POST", "/channels", {
      channel_id: channel, members, name: { ...sealed, nonce: b64(nonce), ciphertext: b64(ciphertext) },
      keys: wraps, state, message: seal(channel, 1, hash, key, message),
    });
    await fetchKeys(channel);
    return { channel_id: channel };
  },

  async send({ channel, text }) {
    await fetchKeys(channel);
    const { state, hash } = newest(channel);
    const post = seal(channel, state.key_version, hash, keys.get(`${channel}/${state.key_version}`), text);
    const first = await call("POST", `/channels/${channel}/messages`, post);
    const again = await call("POST", `/channels/${channel}/messages`, post);
    if (again.message.message_id !== first.message.message_id) throw new Error("sent twice");
    return first;
  },

  async rotate({ channel }) {
    await fetchKeys(channel);
    const { members } = await call("GET", `/channels/${channel}`);
    const named = new Set(members.map((member) => member.id));
    const stay = new Map([...newest(channel).members].filter(([, { user }]) => named.has(user)));
    const { version, state, wraps } = succeed(channel, stay);
    const rotated = await call("POST", `/channels/${channel}/keys`, { key_version: version, keys: wraps, state });
    await fetchKeys(channel);
    return rotated;
  },

  async history({ channel, limit }) {
    keys.clear(); // as after a restart
    const texts = [];
    for (let after = ZERO, more = true; more;) {
      const page = await call("GET", `/channels/${channel}/messages?limit=${limit}&after_id=${after}`);
      for (const message of page.messages) {
        if (message.message_id <= after) throw new Error("out of order");
        after = message.message_id;
        texts.push(await open(message));
      }
      more = page.has_more;
    }
    return { texts };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  let answer;
  try { answer = await commands[command.do](command); } catch (error) {
    answer = { failed: `${error.message} (${error.code ?? error.cause ?? ""})` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
