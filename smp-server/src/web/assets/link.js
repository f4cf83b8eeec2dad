// The page of a link: what stands behind `#` is known here alone, and leaves the browser by no request.
"use strict";

// The link for the app. Its hosts stand in the parameter `h`, since it has no host of its own.
function appLink(kind, host, fragment) {
  if (kind.length > 1) return "simplex:/" + kind + "#" + fragment;
  const mark = fragment.indexOf("?");
  const key = mark < 0 ? fragment : fragment.slice(0, mark);
  const given = mark < 0 ? [] : fragment.slice(mark + 1).split("&").filter((part) => part !== "");
  const hosts = [host];
  const others = [];
  for (const part of given) {
    if (part.startsWith("h=")) hosts.push(...decodeURIComponent(part.slice(2)).split(","));
    else others.push(part);
  }
  const own = "h=" + encodeURIComponent(hosts.filter((name) => name !== "").join(","));
  return "simplex:/" + kind + "#" + key + "?" + [own, ...others].join("&");
}

// QR codes of bytes with error correction of level L (ISO/IEC 18004): a screen is clean.
// Both tables are by version, 1 to 40.
const CORRECTION_BYTES = [
  7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28,
  28, 28, 30, 30, 26, 28, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30,
];
const BLOCKS = [
  1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8,
  8, 9, 9, 10, 12, 12, 12, 13, 14, 15, 16, 17, 18, 19, 19, 20, 21, 22, 24, 25,
];
const MASKS = [
  (row, column) => (row + column) % 2 === 0,
  (row) => row % 2 === 0,
  (row, column) => column % 3 === 0,
  (row, column) => (row + column) % 3 === 0,
  (row, column) => (Math.floor(row / 2) + Math.floor(column / 3)) % 2 === 0,
  (row, column) => ((row * column) % 2) + ((row * column) % 3) === 0,
  (row, column) => (((row * column) % 2) + ((row * column) % 3)) % 2 === 0,
  (row, column) => (((row + column) % 2) + ((row * column) % 3)) % 2 === 0,
];

// Where the centres of alignment patterns are, along one side.
function alignments(version) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const last = version * 4 + 10;
  const step = version === 32 ? 26 : Math.ceil((last - 6) / (2 * (count - 1))) * 2;
  const centres = [6];
  for (let number = count - 2; number >= 0; number -= 1) centres.push(last - number * step);
  return centres;
}

// Bytes that a version holds, with those of the correction.
function capacity(version) {
  const side = version * 4 + 17;
  const count = alignments(version).length;
  let modules = side * side - 3 * 64 - 2 * (side - 16) - 31;
  if (count > 0) modules -= (count * count - 3) * 25 - 2 * (count - 2) * 5;
  if (version >= 7) modules -= 36;
  return Math.floor(modules / 8);
}

// Products in the field of 256 elements with the polynomial 0x11d.
function product(left, right) {
  let result = 0;
  for (let bit = 7; bit >= 0; bit -= 1) {
    result = (result << 1) ^ ((result >> 7) * 0x11d);
    if ((right >> bit) & 1) result ^= left;
  }
  return result;
}

// The remainder that corrects errors in a block.
function correction(block, length) {
  let generator = [1];
  for (let power = 0, root = 1; power < length; power += 1, root = product(root, 2)) {
    const next = [...generator, 0];
    generator.forEach((factor, index) => { next[index + 1] ^= product(factor, root); });
    generator = next;
  }
  const rest = new Array(length).fill(0);
  for (const byte of block) {
    const factor = byte ^ rest.shift();
    rest.push(0);
    for (let index = 0; index < length; index += 1) rest[index] ^= product(generator[index + 1], factor);
  }
  return rest;
}

// Data and correction in the order in which they stand in the code; nothing when it is too much for any.
function codewords(bytes) {
  for (let version = 1; version <= 40; version += 1) {
    const [blocks, correcting] = [BLOCKS[version - 1], CORRECTION_BYTES[version - 1]];
    const room = capacity(version) - blocks * correcting;
    const lengthBits = version < 10 ? 8 : 16;
    if (bytes.length * 8 + 4 + lengthBits > room * 8) continue;
    const bits = [];
    const put = (value, count) => { for (let bit = count - 1; bit >= 0; bit -= 1) bits.push((value >> bit) & 1); };
    put(4, 4);
    put(bytes.length, lengthBits);
    for (const byte of bytes) put(byte, 8);
    put(0, Math.min(4, room * 8 - bits.length));
    put(0, (8 - (bits.length % 8)) % 8);
    const data = [];
    for (let at = 0; at < bits.length; at += 8) data.push(bits.slice(at, at + 8).reduce((all, bit) => all * 2 + bit, 0));
    for (let pad = 0xec; data.length < room; pad ^= 0xec ^ 0x11) data.push(pad);

    // The first blocks are shorter by one where they do not divide evenly.
    const short = blocks - (room % blocks);
    const length = Math.floor(room / blocks);
    const parts = [];
    for (let number = 0, at = 0; number < blocks; number += 1) {
      const end = at + length + (number < short ? 0 : 1);
      parts.push(data.slice(at, end));
      at = end;
    }
    const corrections = parts.map((part) => correction(part, correcting));
    const words = [];
    for (let at = 0; at <= length; at += 1) for (const part of parts) if (at < part.length) words.push(part[at]);
    for (let at = 0; at < correcting; at += 1) for (const part of corrections) words.push(part[at]);
    return { version, words };
  }
  return null;
}

// A value with the remainder of its division, as format and version stand in the code.
function withRemainder(value, bits, polynomial) {
  let rest = value << bits;
  while (Math.floor(Math.log2(rest)) >= bits && rest > 0) rest ^= polynomial << (Math.floor(Math.log2(rest)) - bits);
  return (value << bits) | rest;
}

// The code without a mask: which modules are dark, and which are no data.
function unmasked(version, words) {
  const side = version * 4 + 17;
  const dark = Array.from({ length: side }, () => new Array(side).fill(false));
  const fixed = Array.from({ length: side }, () => new Array(side).fill(false));
  const set = (row, column, is) => {
    if (row < 0 || column < 0 || row >= side || column >= side) return;
    dark[row][column] = is;
    fixed[row][column] = true;
  };
  for (let at = 0; at < side; at += 1) {
    set(6, at, at % 2 === 0);
    set(at, 6, at % 2 === 0);
  }
  for (const [row, column] of [[3, 3], [3, side - 4], [side - 4, 3]]) {
    for (let down = -4; down <= 4; down += 1) {
      for (let right = -4; right <= 4; right += 1) {
        const ring = Math.max(Math.abs(down), Math.abs(right));
        set(row + down, column + right, ring !== 2 && ring !== 4);
      }
    }
  }
  const centres = alignments(version);
  const last = centres.length - 1;
  centres.forEach((row, i) => centres.forEach((column, j) => {
    // Not where the finder patterns are.
    if ((i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0)) return;
    for (let down = -2; down <= 2; down += 1) {
      for (let right = -2; right <= 2; right += 1) {
        set(row + down, column + right, Math.max(Math.abs(down), Math.abs(right)) !== 1);
      }
    }
  }));
  if (version >= 7) {
    const value = withRemainder(version, 12, 0x1f25);
    for (let bit = 0; bit < 18; bit += 1) {
      const [near, far] = [Math.floor(bit / 3), side - 11 + (bit % 3)];
      set(near, far, ((value >> bit) & 1) === 1);
      set(far, near, ((value >> bit) & 1) === 1);
    }
  }
  // The place of the format, which depends on the mask.
  drawFormat(set, side, 0);

  let bit = 0;
  for (let right = side - 1, up = true; right > 0; right -= 2, up = !up) {
    if (right === 6) right = 5;
    for (let step = 0; step < side; step += 1) {
      const row = up ? side - 1 - step : step;
      for (const column of [right, right - 1]) {
        if (fixed[row][column]) continue;
        dark[row][column] = bit < words.length * 8 && ((words[bit >> 3] >> (7 - (bit & 7))) & 1) === 1;
        bit += 1;
      }
    }
  }
  return { side, dark, fixed, set };
}

function drawFormat(set, side, mask) {
  const value = withRemainder((1 << 3) | mask, 10, 0x537) ^ 0x5412;
  for (let bit = 0; bit < 15; bit += 1) {
    const is = ((value >> bit) & 1) === 1;
    // Around the first finder pattern, past the timing patterns.
    if (bit < 8) set(bit < 6 ? bit : bit + 1, 8, is);
    else set(8, bit === 8 ? 7 : 14 - bit, is);
    // Beside the two others.
    if (bit < 8) set(8, side - 1 - bit, is);
    else set(side - 15 + bit, 8, is);
  }
  set(side - 8, 8, true);
}

// How hard a code is to read: long runs, squares, what looks like a finder pattern, too much of one colour.
function penalty(dark, side) {
  let total = 0;
  let count = 0;
  for (const along of [(line, at) => dark[line][at], (line, at) => dark[at][line]]) {
    for (let line = 0; line < side; line += 1) {
      let text = "";
      for (let at = 0; at < side; at += 1) text += along(line, at) ? "1" : "0";
      for (const run of text.match(/0{5,}|1{5,}/g) || []) total += run.length - 2;
      for (let at = 0; at + 11 <= side; at += 1) {
        const part = text.slice(at, at + 11);
        if (part === "10111010000" || part === "00001011101") total += 40;
      }
    }
  }
  for (let row = 0; row < side; row += 1) {
    for (let column = 0; column < side; column += 1) {
      const is = dark[row][column];
      count += is ? 1 : 0;
      if (row + 1 < side && column + 1 < side && is === dark[row + 1][column] && is === dark[row][column + 1]
        && is === dark[row + 1][column + 1]) total += 3;
    }
  }
  return total + Math.floor(Math.abs((count * 20) / (side * side) - 10)) * 10;
}

// The rows of the code of a text; nothing when it is too long for any.
function qrCode(text) {
  const encoded = codewords(new TextEncoder().encode(text));
  if (encoded === null) return null;
  const { side, dark, fixed, set } = unmasked(encoded.version, encoded.words);
  const apply = (mask) => {
    for (let row = 0; row < side; row += 1) {
      for (let column = 0; column < side; column += 1) {
        if (!fixed[row][column] && MASKS[mask](row, column)) dark[row][column] = !dark[row][column];
      }
    }
  };
  let best = { mask: 0, penalty: Infinity };
  for (let mask = 0; mask < 8; mask += 1) {
    drawFormat(set, side, mask);
    apply(mask);
    const found = penalty(dark, side);
    if (found < best.penalty) best = { mask, penalty: found };
    apply(mask);
  }
  drawFormat(set, side, best.mask);
  apply(best.mask);
  return { version: encoded.version, mask: best.mask, rows: dark };
}

function draw(rows, place) {
  const space = "http://www.w3.org/2000/svg";
  const quiet = 4;
  const side = rows.length + 2 * quiet;
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("viewBox", `0 0 ${side} ${side}`);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", "QR code of the link");
  const path = document.createElementNS(space, "path");
  let shape = "";
  rows.forEach((row, y) => row.forEach((is, x) => { if (is) shape += `M${x + quiet} ${y + quiet}h1v1h-1z`; }));
  path.setAttribute("d", shape);
  picture.append(path);
  place.replaceChildren(picture);
}

function show() {
  const kind = location.pathname.replace(/^\/+|\/+$/g, "").toLowerCase();
  const fragment = location.hash.slice(1);
  const byId = (id) => document.getElementById(id);
  byId("complete").hidden = fragment === "";
  byId("incomplete").hidden = fragment !== "";
  if (fragment === "") return;
  const forApp = appLink(kind, location.hostname, fragment);
  // An address that apps understand as it is; where it is none, the app's own form.
  const isPlain = location.protocol === "https:" && location.port === "";
  const link = isPlain ? `${location.origin}/${kind}#${fragment}` : forApp;
  byId("open").href = forApp;
  byId("link").value = link;
  const code = qrCode(link);
  if (code !== null) draw(code.rows, byId("code"));
  byId("code").parentElement.hidden = code === null;
}

function copy() {
  const field = document.getElementById("link");
  field.select();
  const said = (text) => { document.getElementById("copied").textContent = text; };
  const failed = () => said("Press Ctrl+C to copy it.");
  if (navigator.clipboard === undefined) failed();
  else navigator.clipboard.writeText(field.value).then(() => said("Copied."), failed);
}

if (typeof document === "undefined") {
  module.exports = { appLink, qrCode };
} else {
  show();
  window.addEventListener("hashchange", show);
  document.getElementById("copy").addEventListener("click", copy);
}
