// Bytes as JSON carries them.

type Decoding = typeof Uint8Array & { fromBase64?(text: string): Uint8Array };

/** Returns the bytes of base64. Browsers of before 2025 have no function for it. */
export function bytesOf(base64: string): Uint8Array {
  const { fromBase64 } = Uint8Array as Decoding;
  if (fromBase64 !== undefined) return fromBase64.call(Uint8Array, base64);
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
