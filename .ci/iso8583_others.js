// Reads our messages of profile B with npm's iso_8583, and adds its own form of each for us: iso8583_others.js OURS THEIRS.
const assert = require('assert');
const fs = require('fs');
const Iso8583 = require('iso_8583');

const [ours, theirs] = process.argv.slice(2);
const written = JSON.parse(fs.readFileSync(theirs));
let checked = 0;
for (const item of JSON.parse(fs.readFileSync(ours)).filter((item) => item.profile === 'ascii_binary_bitmap')) {
  const { 0: mti, ...fields } = new Iso8583().getIsoJSON(Buffer.from(item.framed, 'hex'));
  assert.deepStrictEqual({ t: mti, ...fields }, item.fields);
  const { t, ...rest } = item.fields;
  const encoded = new Iso8583({ 0: t, ...rest }).getBufferMessage();
  assert(Buffer.isBuffer(encoded), JSON.stringify(encoded));
  // It always sends the second bitmap, so what we would write differs where that one is empty.
  written.push({ profile: item.profile, message: encoded.subarray(2).toString('hex').toUpperCase(), fields: item.fields, exact: false });
  checked += 1;
}
fs.writeFileSync(theirs, JSON.stringify(written));
console.log(`iso_8583 read ${checked} of our messages, and wrote them its own way`);
