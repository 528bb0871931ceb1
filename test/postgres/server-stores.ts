import { LockedLow } from '../../adapters/lowdb.ts'
import { type Raw, STORES, type StoreDefinition, type StorePlace } from '../fixtures/stores.ts'
import { type TestServer, usePostgres } from '../harness/postgres.ts'

/** What the stores of the tests are named by: `postgres://…/database#name`. */
export function nameOf(path: string): string {
  return decodeURIComponent(new URL(path).hash.slice(1))
}

/** The rows of a store, past all of our code. */
export async function rowsOf(server: TestServer, path: string): Promise<{ key: string; line: string }[]> {
  const text = `select d.key, d.line from pslock.doc d join pslock.store s on s.id = d.store
    where not d.gone and s.name = '${nameOf(path).replaceAll("'", "''")}' order by 1`
  const rows = await server.sql(text, path).catch((error) => {
    // Nobody has opened it: there is not even the table.
    if (error.code === '42P01') return []
    throw error
  })
  return rows.map(([key = '', line = '']) => ({ key, line }))
}

/** A database for the tests of the surrounding `describe`, and in it names that are others in each test. */
export function useServerStores(
  options: Parameters<typeof usePostgres>[0] = {},
): StorePlace & { readonly server: () => TestServer; readonly database: () => string } {
  const server = usePostgres(options)
  let url = ''
  let test = 0
  before(async () => {
    url = await server().database()
  })
  beforeEach(() => {
    test++
  })
  return {
    server,
    database: () => url,
    path: (name) => `${url}#${test}-${encodeURIComponent(name)}`,
    content: (path) => rowsOf(server(), path),
  }
}

function onServer(kind: 'nedb' | 'nedb-promises'): StoreDefinition {
  const { open } = STORES.find(({ name }) => name === kind) as StoreDefinition
  let place: ReturnType<typeof useServerStores>
  return {
    name: `${kind} on a server`,
    kind,
    open,
    vanilla: async (path) => {
      const rows = await rowsOf(place.server(), path)
      const docs = rows.map(({ line }) => JSON.parse(line) as { _id: string; n: number })
      return Object.fromEntries(docs.map(({ _id, n }) => [_id, n]))
    },
    server: () => {
      place = useServerStores()
      return place
    },
  }
}

/** The text of a store, and the units since, past all of our code. */
async function textOf(server: TestServer, path: string): Promise<string[][]> {
  const store = `(select id from pslock.store where name = '${nameOf(path).replaceAll("'", "''")}')`
  const text = `select seq, text from pslock.image where store = ${store}
    union all select seq, changes from pslock.unit where store = ${store} order by 1, 2`
  return server.sql(text, path).catch((error) => {
    if (error.code === '42P01') return []
    throw error
  })
}

type Tree = Record<string, Raw[]>

const lowTables: NonNullable<StoreDefinition['tables']> = {
  open: (url) => new LockedLow<object>({ url }, {}),
  raw: async (tx, table) => (tx as { data: Tree }).data[table] ?? [],
  vanilla: async (url, table) => {
    const db = new LockedLow<Tree>({ url }, {})
    await db.read()
    const records = [...(db.data[table] ?? [])]
    await db.close()
    return records
  },
}

/** Those whose content is one text. It may be in units, so that another store object is asked. */
function textOnServer(kind: 'lowdb' | 'shelf'): StoreDefinition {
  const { open } = STORES.find(({ name }) => name === kind) as StoreDefinition
  return {
    name: `${kind} on a server`,
    kind,
    open,
    vanilla: async (path) => {
      const store = await open(path)
      const names = await store.names()
      const all = await Promise.all(names.map(async (name) => [name, await store.get(name)]))
      await store.close()
      return Object.fromEntries(all)
    },
    server: () => {
      const place = useServerStores()
      return { path: place.path, content: (path) => textOf(place.server(), path) }
    },
    ...(kind === 'lowdb' && { tables: lowTables }),
  }
}

export const SERVER_STORES: readonly StoreDefinition[] = [
  onServer('nedb'),
  onServer('nedb-promises'),
  textOnServer('lowdb'),
  textOnServer('shelf'),
]
