"""Puts the services together over one database and one set of settings."""

from dataclasses import dataclass

from app.coordination import coordination as default_coordination
from app.coordination.coordination import Coordination
from app.core.clock import Clock, utc_now
from app.core.config import Settings, get_settings
from app.db import database as default_database
from app.db.database import Database
from app.services.admin_service import AdminService, admin_service
from app.services.analytics_service import AnalyticsService, analytics_service
from app.services.answer_checkpoints import AnswerCheckpoints, answer_checkpoints
from app.services.answer_readers import AnswerReaders
from app.services.attachment_service import AttachmentService, attachment_service
from app.services.auth_service import AuthService, auth_service
from app.services.blob_keeper import BlobKeeper, blob_keeper
from app.services.cache_exchange import CacheExchange, cache_exchange
from app.services.cache_keeper import CacheKeeper, cache_keeper
from app.services.cache_stats_service import CacheStatsService, cache_stats_service
from app.services.cache_watch import CacheWatch, cache_watch
from app.services.conversation_service import ConversationService, conversation_service
from app.services.drawn_pictures import DrawnPictures
from app.services.enhanced_chat_service import EnhancedChatService, enhanced_chat_service
from app.services.file_collector import FileCollector, file_collector
from app.services.follow_ups import FollowUps, follow_ups
from app.services.generation_hub import GenerationHub, generation_hub
from app.services.image_generation_service import ImageGenerationService, image_generation_service
from app.services.image_planner import ImagePlanner
from app.services.image_runner import ImageRunner
from app.services.lease_keeper import LeaseKeeper, lease_keeper
from app.services.models_service import ModelsService, models_service
from app.services.openrouter_service import OpenRouterService, openrouter_service
from app.services.plan_gates import PlanGates
from app.services.presets_service import PresetsService, presets_service
from app.services.quota_service import QuotaService
from app.services.rate_limiter import RateLimiter, rate_limiter
from app.services.reconciliation_service import ReconciliationService, reconciliation_service
from app.services.repeated_requests import RepeatedRequests
from app.services.running_answers import RunningAnswers, running_answers
from app.services.shared_answers import SharedAnswers, shared_answers
from app.services.side_calls import SideCalls
from app.services.subscription_service import SubscriptionService, subscription_service
from app.services.summaries import Summaries
from app.services.title_service import TitleService, title_service
from app.services.titles import Titles
from app.services.turn_files import TurnFileReader
from app.services.turn_runner import TurnRunner


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything an app needs; ``aclose`` closes what has a lifecycle, in reverse order of use."""

    settings: Settings
    database: Database
    coordination: Coordination
    limiter: RateLimiter
    running: RunningAnswers
    openrouter: OpenRouterService
    hub: GenerationHub
    file_collector: FileCollector
    follow_ups: FollowUps
    leases: LeaseKeeper
    checkpoints: AnswerCheckpoints
    shared: SharedAnswers
    blobs: BlobKeeper
    admin: AdminService
    analytics: AnalyticsService
    attachments: AttachmentService
    auth: AuthService
    cache_stats: CacheStatsService
    cache_exchange: CacheExchange
    cache_keeper: CacheKeeper
    cache_watch: CacheWatch
    chat: EnhancedChatService
    conversations: ConversationService
    images: ImageGenerationService
    models: ModelsService
    presets: PresetsService
    reconciliation: ReconciliationService
    subscriptions: SubscriptionService
    titles: TitleService

    @classmethod
    def default(cls) -> "Services":
        """The ready-made instances of the service modules, on this process's settings."""
        return cls(
            settings=get_settings(),
            database=default_database.database,
            coordination=default_coordination.coordination,
            limiter=rate_limiter,
            running=running_answers,
            openrouter=openrouter_service,
            hub=generation_hub,
            file_collector=file_collector,
            follow_ups=follow_ups,
            blobs=blob_keeper,
            admin=admin_service,
            analytics=analytics_service,
            attachments=attachment_service,
            auth=auth_service,
            cache_stats=cache_stats_service,
            cache_exchange=cache_exchange,
            cache_keeper=cache_keeper,
            cache_watch=cache_watch,
            chat=enhanced_chat_service,
            conversations=conversation_service,
            images=image_generation_service,
            models=models_service,
            presets=presets_service,
            reconciliation=reconciliation_service,
            leases=lease_keeper,
            checkpoints=answer_checkpoints,
            shared=shared_answers,
            subscriptions=subscription_service,
            titles=title_service,
        )

    @classmethod
    def build(cls, settings: Settings, *, clock: Clock = utc_now) -> "Services":
        """A set of its own, for a process that runs several apps with different settings."""

        def read_settings() -> Settings:
            return settings

        database = Database(lambda: settings.resolved_database_url, lambda: settings.database_pool_size)
        coordination = Coordination(lambda: settings.resolved_redis_url)
        limiter = RateLimiter(settings=read_settings, database=database, coordination=coordination)
        openrouter = OpenRouterService(settings=read_settings, clock=clock)
        quotas = QuotaService(settings=read_settings)
        gates = PlanGates(settings=read_settings, openrouter=openrouter)
        blobs = BlobKeeper(settings=read_settings, database=database, clock=clock)
        leases = LeaseKeeper(settings=read_settings, database=database, quotas=quotas, clock=clock)
        checkpoints = AnswerCheckpoints(settings=read_settings, database=database)
        shared = SharedAnswers(settings=read_settings, coordination=coordination, database=database)
        hub = GenerationHub(settings=read_settings, shared=shared)
        files = TurnFileReader(database=database, blobs=blobs, clock=clock)
        repeated = RepeatedRequests(database=database, hub=hub)
        watch = CacheWatch()
        keeper = CacheKeeper(
            settings=read_settings, database=database, openrouter=openrouter, quotas=quotas, clock=clock
        )
        side_calls = SideCalls(database=database, openrouter=openrouter, quotas=quotas, leases=leases, clock=clock)
        titles = Titles(settings=read_settings, database=database, calls=side_calls)
        summaries = Summaries(
            settings=read_settings, database=database, openrouter=openrouter, calls=side_calls, clock=clock
        )
        follow_ups = FollowUps(settings=read_settings, titles=titles, summaries=summaries)
        return cls(
            settings=settings,
            database=database,
            coordination=coordination,
            limiter=limiter,
            running=RunningAnswers(settings=read_settings, coordination=coordination),
            openrouter=openrouter,
            hub=hub,
            file_collector=FileCollector(database=database, blobs=blobs, clock=clock),
            follow_ups=follow_ups,
            leases=leases,
            checkpoints=checkpoints,
            shared=shared,
            blobs=blobs,
            admin=AdminService(database=database, clock=clock),
            analytics=AnalyticsService(database=database, openrouter=openrouter, clock=clock),
            attachments=AttachmentService(
                settings=read_settings, database=database, blobs=blobs, gates=gates, clock=clock
            ),
            auth=AuthService(settings=read_settings, database=database, limiter=limiter, clock=clock),
            cache_stats=CacheStatsService(database=database),
            cache_exchange=CacheExchange(openrouter=openrouter, coordination=coordination),
            cache_keeper=keeper,
            cache_watch=watch,
            chat=EnhancedChatService(
                settings=read_settings,
                database=database,
                openrouter=openrouter,
                quotas=quotas,
                gates=gates,
                runner=TurnRunner(
                    database=database,
                    openrouter=openrouter,
                    quotas=quotas,
                    leases=leases,
                    checkpoints=checkpoints,
                    files=files,
                    hub=hub,
                    watch=watch,
                    keeper=keeper,
                    clock=clock,
                ),
                files=files,
                repeated=repeated,
                follow_ups=follow_ups,
                readers=AnswerReaders(database=database, hub=hub),
                hub=hub,
                clock=clock,
            ),
            conversations=ConversationService(database=database, clock=clock),
            images=ImageGenerationService(
                settings=read_settings,
                database=database,
                openrouter=openrouter,
                quotas=quotas,
                gates=gates,
                planner=ImagePlanner(settings=read_settings, openrouter=openrouter),
                runner=ImageRunner(
                    settings=read_settings,
                    database=database,
                    openrouter=openrouter,
                    quotas=quotas,
                    leases=leases,
                    pictures=DrawnPictures(settings=read_settings, blobs=blobs),
                    blobs=blobs,
                    clock=clock,
                ),
                repeated=repeated,
                blobs=blobs,
                hub=hub,
                clock=clock,
            ),
            models=ModelsService(settings=read_settings, openrouter=openrouter, gates=gates),
            presets=PresetsService(database=database, openrouter=openrouter, clock=clock),
            reconciliation=ReconciliationService(
                settings=read_settings,
                database=database,
                openrouter=openrouter,
                quotas=quotas,
                shared=shared,
                clock=clock,
            ),
            titles=TitleService(database=database, titles=titles, repeated=repeated, clock=clock),
            subscriptions=SubscriptionService(settings=read_settings, database=database, quotas=quotas, clock=clock),
        )

    def begin_draining(self) -> None:
        """Take nothing new; what runs may go on for the grace time."""
        self.hub.begin_draining(self.settings.shutdown_grace_seconds)
        self.images.begin_draining(self.settings.shutdown_grace_seconds)

    async def aclose(self) -> None:
        """Let running answers finish within the grace time, then close connections."""
        await self.hub.drain(self.settings.shutdown_grace_seconds)
        await self.images.drain(self.settings.shutdown_grace_seconds)
        await self.follow_ups.drain()
        await self.leases.aclose()
        await self.checkpoints.aclose()
        await self.shared.aclose()
        await self.cache_exchange.aclose()
        await self.openrouter.aclose()
        await self.blobs.aclose()
        await self.coordination.aclose()
        await self.database.close()
