"""What endpoints ask for: the caller and the services.

Even what awaits nothing is a coroutine here: FastAPI sends plain functions through a thread, each time.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from app.core.errors import Forbidden, Unauthenticated
from app.domain.audit import Actor, ActorKind
from app.domain.principal import Principal
from app.services.admin_service import AdminService
from app.services.answer_log import AnswerLog
from app.services.assembly import Services
from app.services.attachment_service import AttachmentService
from app.services.auth_service import AuthService
from app.services.cache_stats_service import CacheStatsService
from app.services.conversation_service import ConversationService
from app.services.enhanced_chat_service import EnhancedChatService
from app.services.image_generation_service import ImageGenerationService
from app.services.models_service import ModelsService
from app.services.presets_service import PresetsService
from app.services.running_answers import AnswerSeat, TooManyRunningAnswers
from app.services.subscription_service import SubscriptionService
from app.services.title_service import TitleService

_bearer = OAuth2PasswordBearer(tokenUrl="/api/v1/auth/login", refreshUrl="/api/v1/auth/refresh", auto_error=False)


async def get_services(request: Request) -> Services:
    """The services of the running app."""
    services: Services = request.app.state.services
    return services


AppServices = Annotated[Services, Depends(get_services)]


async def _get_admin_service(services: AppServices) -> AdminService:
    return services.admin


async def _get_attachments(services: AppServices) -> AttachmentService:
    return services.attachments


async def _get_auth(services: AppServices) -> AuthService:
    return services.auth


async def _get_cache_stats(services: AppServices) -> CacheStatsService:
    return services.cache_stats


async def _get_chat(services: AppServices) -> EnhancedChatService:
    return services.chat


async def _get_conversations(services: AppServices) -> ConversationService:
    return services.conversations


async def _get_images(services: AppServices) -> ImageGenerationService:
    return services.images


async def _get_models(services: AppServices) -> ModelsService:
    return services.models


async def _get_presets(services: AppServices) -> PresetsService:
    return services.presets


async def _get_subscriptions(services: AppServices) -> SubscriptionService:
    return services.subscriptions


async def _get_titles(services: AppServices) -> TitleService:
    return services.titles


Admin = Annotated[AdminService, Depends(_get_admin_service)]
Attachments = Annotated[AttachmentService, Depends(_get_attachments)]
Auth = Annotated[AuthService, Depends(_get_auth)]
CacheStats = Annotated[CacheStatsService, Depends(_get_cache_stats)]
Chat = Annotated[EnhancedChatService, Depends(_get_chat)]
Conversations = Annotated[ConversationService, Depends(_get_conversations)]
Images = Annotated[ImageGenerationService, Depends(_get_images)]
Models = Annotated[ModelsService, Depends(_get_models)]
Presets = Annotated[PresetsService, Depends(_get_presets)]
Subscriptions = Annotated[SubscriptionService, Depends(_get_subscriptions)]
Titles = Annotated[TitleService, Depends(_get_titles)]


Token = Annotated[str | None, Depends(_bearer)]


def _required(token: str | None) -> str:
    if token is None:
        raise Unauthenticated("Send an access token: Authorization: Bearer <token>.")
    return token


async def _authenticate(auth: Auth, token: Token) -> Principal:
    return await auth.authenticate(_required(token))


_Authenticated = Annotated[Principal, Depends(_authenticate)]


async def get_current_user(user: _Authenticated, services: AppServices, request: Request) -> Principal:
    """The account behind the access token, its request counted; 401 without a valid token, 429 for too many."""
    request.state.rate_limit = await services.limiter.count_api_request(user.id)
    return user


async def get_model_caller(user: _Authenticated, services: AppServices, request: Request) -> Principal:
    """The same for endpoints that ask a model: counted against the plan's requests per minute instead.

    Such an endpoint takes an Idempotency-Key: who repeats a request asks no model, and is not counted as if.
    """
    is_repeat = await _is_repeat(request, services, user.id)
    count = services.limiter.count_api_request if is_repeat else services.limiter.count_model_request
    request.state.rate_limit = await count(user.id)
    return user


async def _is_repeat(request: Request, services: Services, user_id: UUID) -> bool:
    key = request.headers.get("Idempotency-Key")
    return key is not None and await services.chat.knows_request(user_id, key)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for an answer, by the token alone, with a place among the account's running answers.

    Whether the account still exists is found out where the turn opens, along with what else it has to know.
    """

    id: UUID
    seat: AnswerSeat

    def hand_over(self, answer: AnswerLog) -> None:
        """Let the answer that starts have the seat."""
        answer.when_closed(self.seat.hand_over())


async def get_asker(request: Request, token: Token) -> AsyncIterator[Asker]:
    """The caller of an endpoint that answers; one dependency, since each one more costs as much as a statement.

    The seat comes before the count: what is refused there must not use up the minute. Who repeats a request asks no
    model: it is not counted as if, and joins an answer that has its seat.
    """
    services: Services = request.app.state.services
    user_id = services.auth.identify(_required(token))
    if await _is_repeat(request, services, user_id):
        request.state.rate_limit = await services.limiter.count_api_request(user_id)
        yield Asker(user_id, AnswerSeat(lambda: None))
        return
    try:
        seat = await services.running.take(user_id)
    except TooManyRunningAnswers:
        request.state.rate_limit = await services.limiter.model_standing(user_id)
        raise
    try:
        request.state.rate_limit = await services.limiter.count_model_request(user_id)
        yield Asker(user_id, seat)
    finally:
        seat.close()


CurrentUser = Annotated[Principal, Depends(get_current_user)]
ModelCaller = Annotated[Principal, Depends(get_model_caller)]
AnswerAsker = Annotated[Asker, Depends(get_asker)]


async def get_client_address(request: Request) -> str | None:
    """Who holds the other end of the socket; behind a proxy uvicorn's --forwarded-allow-ips makes it the client."""
    return request.client.host if request.client else None


ClientAddress = Annotated[str | None, Depends(get_client_address)]


async def get_admin(user: CurrentUser) -> Principal:
    """The caller, who must be an operator; 403 otherwise."""
    if not user.is_admin:
        raise Forbidden("Only administrators may do this.")
    return user


AdminUser = Annotated[Principal, Depends(get_admin)]


async def get_customer(user: CurrentUser) -> Actor:
    """The caller as the audit log names people who act for themselves."""
    return _actor(ActorKind.USER, user)


async def get_operator(admin: AdminUser) -> Actor:
    """The caller as the audit log names operators; 403 for anybody else."""
    return _actor(ActorKind.OPERATOR, admin)


def _actor(kind: ActorKind, account: Principal) -> Actor:
    return Actor(kind, account.id, structlog.contextvars.get_contextvars().get("request_id"))


Customer = Annotated[Actor, Depends(get_customer)]
Operator = Annotated[Actor, Depends(get_operator)]
