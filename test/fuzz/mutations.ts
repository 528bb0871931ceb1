import fc from 'fast-check'

/** A change of a file's bytes, as plain data: places and lengths are shares of the file, so that shrinking keeps them valid. */
export type Mutation =
  | readonly ['flip', at: number, bit: number]
  | readonly ['remove', at: number, length: number]
  | readonly ['insert', at: number, what: string]
  | readonly ['truncate', at: number]
  | readonly ['duplicate', from: number, length: number]
  | readonly ['move', from: number, length: number, to: number]
  | readonly ['twice']
  | readonly ['crlf' | 'cr' | 'bom' | 'noFeed' | 'blankLines']

/** What is put in, or in the place of something, by name: latin1 texts of the bytes. */
const BITS: readonly string[] = [
  '\n',
  '\r',
  ' ',
  '\0',
  '\0'.repeat(512),
  '\xff',
  '\xc3',
  '\xed\xa0\x80',
  '\xe2\x80\xa8',
  '\xc2\x85',
  '{',
  '}',
  '"',
  '\\',
  '[[[[',
  '[]\n',
  'null\n',
  '17\n',
  'not JSON\n',
  '{"_id":"new"}\n',
  '{"_id":1}\n{"_id":"1"}\n',
  '{"_id":0,"zero":true}\n',
  '{"_id":"","empty":true}\n',
  '{"_id":{"a":1,"b":2}}\n{"_id":{"b":2,"a":1},"again":true}\n',
  '{"a":1}\n',
  '{"$$unknown":true}\n',
  '{"_id":"odd","$set":1}\n',
  '{"_id":"odd","deep":[{"$x":1}]}\n',
  '{"_id":"a","$$deleted":true}\n',
  '{"_id":"__proto__","x":1}\n',
  '{"_id":"p","__proto__":{"x":1}}\n',
  '{"$$indexCreated":{"fieldName":"n","unique":true}}\n',
  '{"$$indexRemoved":"n"}\n',
  '{"$$indexCreated":{"fieldName":8}}\n',
  '{"$$indexCreated":{}}\n',
  '{"_id":"odd","at":{"$$date":"2026"}}\n',
  '{"_id":"odd","at":{"$$date":"none"}}\n',
  '{"_id":"odd","at":{"$$date" : "none" }}\n',
  '{"_id":"odd","at":[{"$$date":null,"beside":1}]}\n',
  '{"_id":"odd","$$date":1}\n',
  '{"_id":"$$pslock","$$unit":{"bytes":40,"crc":1}}\n',
  '{"$$deleted":true,"_id":"$$pslock"}\n',
  ` ${JSON.stringify({ _id: 'part' })} \n`,
]

const share = fc.integer({ min: 0, max: 999 }).map((per) => per / 1000)
const short = fc.integer({ min: 1, max: 30 }).map((per) => per / 300)
const bits = fc.constantFrom(...BITS)

export const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constant('flip' as const), share, fc.integer({ min: 0, max: 7 })) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('remove' as const), share, short) },
  { weight: 6, arbitrary: fc.tuple(fc.constant('insert' as const), share, bits) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('truncate' as const), share) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('duplicate' as const), share, short) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('move' as const), share, short, share) },
  { weight: 1, arbitrary: fc.constant<Mutation>(['twice']) },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom('crlf' as const, 'cr' as const, 'bom' as const, 'noFeed' as const, 'blankLines' as const)
      .map((name): Mutation => [name]),
  },
)

/** The bytes after a change. */
export function mutated(bytes: Buffer, change: Mutation): Buffer {
  const at = (share: number) => Math.floor(share * bytes.length)
  const text = bytes.toString('latin1')
  switch (change[0]) {
    case 'flip': {
      const flipped = Buffer.from(bytes)
      if (flipped.length > 0) flipped[at(change[1])]! ^= 1 << change[2]
      return flipped
    }
    case 'remove':
      return cut(text, at(change[1]), at(change[2]), '')
    case 'insert':
      return cut(text, at(change[1]), 0, change[2])
    case 'truncate':
      return bytes.subarray(0, at(change[1]))
    case 'duplicate':
      return cut(text, at(change[1]), 0, text.slice(at(change[1]), at(change[1]) + at(change[2])))
    case 'move': {
      const block = text.slice(at(change[1]), at(change[1]) + at(change[2]))
      return cut(cut(text, at(change[1]), block.length, '').toString('latin1'), at(change[3]), 0, block)
    }
    case 'twice':
      return Buffer.concat([bytes, bytes])
    case 'crlf':
      return Buffer.from(text.replaceAll('\n', '\r\n'), 'latin1')
    case 'cr':
      return Buffer.from(text.replaceAll('\n', '\r'), 'latin1')
    case 'bom':
      return Buffer.concat([Buffer.from('\ufeff'), bytes])
    case 'noFeed':
      return Buffer.from(text.replace(/\n+$/, ''), 'latin1')
    default:
      return Buffer.from(text.replaceAll('\n', '\n\n\n'), 'latin1')
  }
}

function cut(text: string, at: number, length: number, by: string): Buffer {
  return Buffer.from(text.slice(0, at) + by + text.slice(at + length), 'latin1')
}
