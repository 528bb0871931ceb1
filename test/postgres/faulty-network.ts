import { once } from 'node:events'
import { createConnection, createServer, type Server, type Socket } from 'node:net'

/**
 * What happens to the bytes: they go through; those of one direction vanish; or nobody takes them any more, as where the
 * network is gone.
 */
export type NetworkMode = 'through' | 'lose-requests' | 'lose-answers' | 'black-hole'

/** Stands between the clients and the server, and does what networks do. */
export class FaultyNetwork {
  mode: NetworkMode = 'through'
  /** How many bytes of clients came since the last reset by the test. */
  requested = 0
  /** Once a client has sent this the answers are lost. */
  loseAnswersAfter: string | undefined
  readonly #server: Server
  #target: { readonly host: string; readonly port: number }
  readonly #pairs = new Set<readonly [client: Socket, server: Socket]>()
  readonly #unheard = new Set<Socket>()

  static async to(url: string): Promise<FaultyNetwork> {
    const { hostname, port } = new URL(url)
    const network = new FaultyNetwork(hostname, Number(port))
    await once(network.#server.listen(0, '127.0.0.1'), 'listening')
    return network
  }

  private constructor(host: string, port: number) {
    this.#target = { host, port }
    this.#server = createServer((client) => {
      const server = createConnection(this.#target)
      const pair = [client, server] as const
      this.#pairs.add(pair)
      const end = () => {
        this.#pairs.delete(pair)
        client.destroy()
        if (!this.#unheard.has(server)) server.destroy()
      }
      for (const socket of pair) socket.on('error', end).on('close', end)
      client.on('data', (bytes) => {
        this.requested += bytes.length
        const { loseAnswersAfter } = this
        if (loseAnswersAfter !== undefined && bytes.includes(loseAnswersAfter)) this.mode = 'lose-answers'
        if (this.mode === 'through' || this.mode === 'lose-answers') server.write(bytes)
      })
      server.on('data', (bytes) => {
        if (this.mode === 'through' || this.mode === 'lose-requests') client.write(bytes)
      })
    })
  }

  /** The url by which it is reached. */
  urlOf(url: string): string {
    const through = new URL(url)
    through.host = `127.0.0.1:${(this.#server.address() as { port: number }).port}`
    return through.href
  }

  /** From now on it leads to another server, as an address does that moves with the primary. */
  leadTo(url: string): void {
    const { hostname, port } = new URL(url)
    this.#target = { host: hostname, port: Number(port) }
  }

  /**
   * Cuts all connections: with an end, or as a machine answers that knows nothing of them (RST), or so that the server does not hear of
   * it. Then all goes through.
   */
  cut(how: 'end' | 'reset' | 'unheard'): void {
    this.mode = 'through'
    for (const [client, server] of [...this.#pairs]) {
      if (how === 'unheard') this.#unheard.add(server)
      if (how === 'reset') client.resetAndDestroy()
      else client.destroy()
      if (how !== 'unheard') server.destroy()
    }
  }

  /** It hears of all that was cut unheard. */
  tellServer(): void {
    for (const server of this.#unheard) server.destroy()
  }

  async close(): Promise<void> {
    this.#server.close()
    this.cut('end')
    this.tellServer()
    await once(this.#server, 'close')
  }
}
