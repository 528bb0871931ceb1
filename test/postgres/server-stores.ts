import { STORES, type StoreDefinition, type StorePlace } from '../fixtures/stores.ts'
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

export const SERVER_STORES: readonly StoreDefinition[] = [onServer('nedb'), onServer('nedb-promises')]
