import fc from 'fast-check'
import type { Call, Doc, Query, Step } from './steps.ts'

/** Few values, so that calls meet each other's documents. */
const id = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'ä\u2028', 7, 8.5)
const small = fc.integer({ min: 0, max: 3 })
const text = fc.constantFrom('', 'x', 'y', 'z\u2028\u0085', '😀')
const date = fc.integer({ min: 0, max: 3 }).map((ms) => new Date(ms))
const leaf = fc.oneof(small, text, date, fc.constant(null), fc.boolean())
const nested = fc.record({ p: small, q: fc.array(leaf, { maxLength: 2 }) }, { requiredKeys: ['p'] })
const tags = fc.array(small, { maxLength: 3 })

const fields = fc.record({ n: small, s: text, tags, at: date, o: nested, u: leaf }, { requiredKeys: [] })
const doc: fc.Arbitrary<Doc> = fc.tuple(id, fields).map(([_id, others]) => ({ _id, ...others }))
/** Long enough for a unit to leave its block of 4096 bytes. */
const longDoc: fc.Arbitrary<Doc> = fc
  .tuple(doc, fc.integer({ min: 1000, max: 6000 }))
  .map(([short, length]) => ({ ...short, long: 'l'.repeat(length) }))
const anyDoc = fc.oneof({ weight: 9, arbitrary: doc }, { weight: 1, arbitrary: longDoc })

const byItsId: fc.Arbitrary<Query> = id.map((_id) => ({ _id }))
const simple: fc.Arbitrary<Query> = fc.oneof(
  fc.constant({}),
  byItsId,
  fc.array(id, { maxLength: 3 }).map((ids) => ({ _id: { $in: ids } })),
  small.map((n) => ({ n })),
  fc
    .tuple(fc.constantFrom('$gt', '$gte', '$lt', '$lte', '$ne'), small)
    .map(([op, n]) => ({ n: { [op]: n } })),
  text.map((s) => ({ s })),
  small.map((tag) => ({ tags: tag })),
  fc.integer({ min: 0, max: 3 }).map((size) => ({ tags: { $size: size } })),
  small.map((p) => ({ 'o.p': p })),
  date.map((at) => ({ at: { $lte: at } })),
  fc.boolean().map((there) => ({ u: { $exists: there } })),
  fc.constant({ s: /^[xy]/ }),
)
const query: fc.Arbitrary<Query> = fc.oneof(
  { weight: 6, arbitrary: simple },
  { weight: 1, arbitrary: fc.tuple(simple, simple).map((both) => ({ $or: both })) },
  { weight: 1, arbitrary: fc.tuple(simple, simple).map((both) => ({ $and: both })) },
  { weight: 1, arbitrary: simple.map((not) => ({ $not: not })) },
)

const operators: fc.Arbitrary<Doc> = fc.oneof(
  fields.map((values) => ({ $set: values })),
  fc.constantFrom('n', 's', 'o.p', 'tags').map((name) => ({ $unset: { [name]: true } })),
  fc
    .tuple(fc.constantFrom('n', 'o.p'), fc.integer({ min: -2, max: 2 }))
    .map(([name, by]) => ({ $inc: { [name]: by } })),
  small.map((tag) => ({ $push: { tags: tag } })),
  fc.tuple(tags, fc.option(small, { nil: undefined })).map(([each, slice]) => ({
    $push: { tags: slice === undefined ? { $each: each } : { $each: each, $slice: slice } },
  })),
  small.map((tag) => ({ $addToSet: { tags: tag } })),
  fc.constantFrom(1, -1).map((end) => ({ $pop: { tags: end } })),
  small.map((tag) => ({ $pull: { tags: tag } })),
  small.map((n) => ({ $min: { n } })),
  small.map((n) => ({ $max: { n } })),
  // Refused: an _id never changes, and there is no such operator.
  id.map((_id) => ({ $set: { _id } })),
  fc.constant({ $nothing: { n: 1 } }),
)

/** One document, which must be the same one here and in the model: only an `_id` says which. */
const updateOne: fc.Arbitrary<Call> = fc
  .tuple(
    byItsId,
    fc.oneof({ weight: 3, arbitrary: operators }, { weight: 1, arbitrary: fields }),
    fc.record({ upsert: fc.boolean(), returnUpdatedDocs: fc.boolean() }, { requiredKeys: [] }),
  )
  .map(([of, update, options]) => {
    const replaces = !Object.keys(update).some((key) => key.startsWith('$'))
    // A replacement that is inserted gets an _id of its own, unless it has one.
    return ['update', of, replaces ? { ...update, ...of } : update, options]
  })
const updateMany: fc.Arbitrary<Call> = fc
  .tuple(query, operators, fc.boolean())
  .map(([of, update, returnUpdatedDocs]) => ['update', of, update, { multi: true, returnUpdatedDocs }])

const removeIndex: fc.Arbitrary<Call> = fc
  .constantFrom('n', 's', 'tags', 'o.p', 'u', 'n,s')
  .map((name) => ['removeIndex', name])
const index: fc.Arbitrary<Call> = fc
  .tuple(
    fc.constantFrom<string | string[]>('n', 's', 'tags', 'o.p', 'u', ['n', 's']),
    fc.record({ unique: fc.boolean(), sparse: fc.boolean() }, { requiredKeys: [] }),
  )
  .map(([fieldName, options]) => ['ensureIndex', { fieldName, ...options }])

const read: fc.Arbitrary<Call> = fc.oneof(
  query.map((of): Call => ['find', of]),
  query.map((of): Call => ['count', of]),
  fc
    .tuple(query, fc.constantFrom<1 | -1>(1, -1))
    .map(([of, way]): Call => ['sorted', of, { n: way, _id: 1 }]),
)

const call: fc.Arbitrary<Call> = fc.oneof(
  { weight: 4, arbitrary: anyDoc.map((one): Call => ['insert', one]) },
  { weight: 2, arbitrary: fc.array(anyDoc, { maxLength: 4 }).map((many): Call => ['insert', many]) },
  { weight: 4, arbitrary: updateOne },
  { weight: 3, arbitrary: updateMany },
  { weight: 1, arbitrary: byItsId.map((of): Call => ['remove', of, {}]) },
  { weight: 2, arbitrary: query.map((of): Call => ['remove', of, { multi: true }]) },
  { weight: 3, arbitrary: read },
  { weight: 2, arbitrary: index },
  { weight: 1, arbitrary: removeIndex },
  { weight: 1, arbitrary: fc.constant<Call>(['compact']) },
)

const ended = fc.constantFrom<'commit' | 'throw'>('commit', 'throw')
const nestedOnce: fc.Arbitrary<Step> = fc
  .tuple(fc.array(call, { maxLength: 3 }), ended)
  .map(([steps, end]) => ['transaction', steps, end])
const transaction: fc.Arbitrary<Step> = fc
  .tuple(
    fc.array(
      fc.oneof(
        { weight: 4, arbitrary: call },
        // What is undone with it is more than documents.
        { weight: 1, arbitrary: removeIndex },
        { weight: 1, arbitrary: nestedOnce },
      ),
      { maxLength: 5 },
    ),
    ended,
  )
  .map(([steps, end]) => ['transaction', steps, end])
const view: fc.Arbitrary<Step> = fc.array(read, { maxLength: 3 }).map((reads) => ['view', reads])

/** What every process may do while others do the same. */
export const sharedStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: call },
  { weight: 2, arbitrary: transaction },
  { weight: 1, arbitrary: view },
)

/** NeDB creates an index at once, ahead of what was issued before: code relies on that. */
function isOrdered(step: Step): boolean {
  return step[0] !== 'ensureIndex' && step[0] !== 'removeIndex'
}

export const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: sharedStep },
  {
    weight: 1,
    arbitrary: fc
      .array(sharedStep.filter(isOrdered), { minLength: 2, maxLength: 4 })
      .map((steps): Step => ['together', steps]),
  },
  { weight: 1, arbitrary: fc.constantFrom<Step>(['load'], ['reopen'], ['dump'], ['restore']) },
  { weight: 1, arbitrary: fc.constant<Step>(['look']) },
)
