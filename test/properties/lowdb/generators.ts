import fc from 'fast-check'
import type { Op, Step, Tree } from './steps.ts'

/** As JSON keeps it: -0 is 0 there, and what has no JSON is not written. */
const value = fc
  .oneof(
    { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 3, stringUnit: 'binary' }) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 5 }) },
    { weight: 1, arbitrary: fc.constantFrom('\ud800', '\u2028\u2029\u0085', '') },
    { weight: 1, arbitrary: fc.array(fc.integer(), { maxLength: 3 }) },
    {
      weight: 1,
      arbitrary: fc.array(fc.record({ id: fc.constantFrom(1, '1', 2, 'x'), n: fc.integer() }), {
        maxLength: 3,
      }),
    },
  )
  .map((any) => JSON.parse(JSON.stringify(any)) as unknown)

const key = fc.constantFrom('a', 'b', '', 'a.b', '__proto__', 'constructor', 'toString', '1')
const path = fc.array(key, { minLength: 1, maxLength: 3 })

const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(path, value).map(([at, given]): Op => ['set', at, given]) },
  { weight: 1, arbitrary: path.map((at): Op => ['delete', at]) },
  { weight: 2, arbitrary: fc.tuple(path, value).map(([at, given]): Op => ['push', at, given]) },
)

const ended = fc.constantFrom<'commit' | 'throw'>('commit', 'commit', 'throw')

function calls(ops: fc.Arbitrary<readonly Op[]>): fc.Arbitrary<Step>[] {
  const part = fc.oneof(
    { weight: 3, arbitrary: ops.filter((list) => list.length > 0).map((list) => list[0] as Op) },
    {
      weight: 1,
      arbitrary: fc.tuple(ops, ended).map(([list, end]) => ['savepoint', list, end] as const),
    },
  )
  return [
    fc.tuple(ops, ended).map(([list, end]): Step => ['update', list, end]),
    fc
      .tuple(fc.array(part, { maxLength: 4 }), ended)
      .map(([parts, end]): Step => ['transaction', parts, end]),
    fc.constantFrom<Step>(['write'], ['read'], ['view']),
  ]
}

export const step: fc.Arbitrary<Step> = fc.oneof(
  ...calls(fc.array(op, { maxLength: 4 })),
  op.map((each): Step => ['edit', each]),
  fc.constantFrom<Step>(['reopen'], ['dump'], ['restore']),
)

/** What a process edits by itself is its own, and a list to which all append: that always merges. */
export const SHARED: Tree = { w0: {}, w1: {}, w2: {}, log: [], shared: {} }

/** The steps of one of several processes. */
export function stepOf(process: number): fc.Arbitrary<Step> {
  const own = fc.oneof(
    fc.tuple(key, value).map(([name, given]): Op => ['set', [`w${process}`, name], given]),
    key.map((name): Op => ['delete', [`w${process}`, name]]),
    value.filter((given) => typeof given !== 'object').map((given): Op => ['push', ['log'], given]),
  )
  const common = fc.oneof(
    path.chain((at) => value.map((given): Op => ['set', ['shared', ...at], given])),
    path.map((at): Op => ['delete', ['shared', ...at]]),
    path.chain((at) => value.map((given): Op => ['push', ['shared', ...at], given])),
    own,
  )
  return fc.oneof(
    ...calls(fc.array(common, { maxLength: 3 })),
    own.map((each): Step => ['edit', each]),
  )
}
