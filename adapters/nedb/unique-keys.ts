type Doc = Record<string, unknown>

/**
 * The keys under which a unique index has a document, as texts that are equal where NeDB's comparison says so.
 * @param name of the index: a field, with dots into what it holds, or several of them behind commas
 */
export function uniqueKeys(doc: Doc, name: string, sparse: boolean): string[] {
  const fields = name.split(',')
  const values = fields.map((field) => valueAt(doc, field.split('.')))
  if (sparse && values.every((value) => value === undefined)) return []
  const [only] = values
  // Each element of an array is a key of its own.
  if (fields.length === 1 && Array.isArray(only)) return [...new Set(only.map(keyOf))]
  return [fields.length === 1 ? keyOf(only) : `(${values.map(keyOf).join(', ')})`]
}

function valueAt(value: unknown, [first, ...rest]: readonly string[]): unknown {
  if (first === undefined || !value) return first === undefined ? value : undefined
  const inner = (value as Doc)[first]
  const [next] = rest
  if (!Array.isArray(inner) || next === undefined) return valueAt(inner, rest)
  const index = Number.parseInt(next, 10)
  if (!Number.isNaN(index)) return valueAt(inner[index], rest.slice(1))
  return inner.map((element) => valueAt(element, rest))
}

/** Fields in any order are the same object. */
function keyOf(value: unknown): string {
  if (value === undefined) return 'undefined'
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}
